"""The end of a request's time: as settings say, and as the client says."""

import pytest

from proxy_core.testing import chunk, fingerprint, pause, stall

TOTAL = {"timeouts": {"total_s": 0.5}}
CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@pytest.fixture
def hasty(make_proxy):
    """Makes a proxy with one key, and limits."""

    async def make(**tables):
        return await make_proxy(
            {"providers": {"demo": {"api_keys": ["key-a"]}}, "routing": {"max_wait_s": 3}, **tables}
        )

    return make


async def all_is_given_back(proxy, upstream, clock):
    await clock.settle()
    assert upstream.last.left.is_set()
    assert proxy.proxy.pools["demo"].in_flight == 0


@EITHER
async def test_before_the_first_event_the_end_is_a_504(hasty, upstream, stream, clock):
    upstream.says(stall())
    proxy = await hasty(**TOTAL)

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi", stream=stream))

    assert (answer.status, answer.error["code"]) == (504, "deadline_passed")
    assert took_s == pytest.approx(0.5)
    assert len(upstream.requests) == 1
    await all_is_given_back(proxy, upstream, clock)


async def test_the_running_attempt_is_recorded_as_abandoned_and_causes_no_cooldown(hasty, upstream, clock):
    upstream.says(stall())
    proxy = await hasty(**TOTAL)

    answer = await clock.run(proxy.chat("demo/small", "hi"))

    record = proxy.proxy.services.recent.get(answer.headers["x-request-id"])
    [attempt] = record.attempts
    assert (attempt.credential, attempt.status, attempt.message) == (fingerprint("key-a"), None, "cancelled")
    assert [a["credential"] for a in answer.error["attempts"]] == [fingerprint("key-a")]
    assert (record.outcome, record.error) == ("failed", "deadline_passed")
    assert proxy.cooldown_s("key-a") == 0


async def test_after_the_first_event_a_timeout_is_reported_in_the_stream(hasty, upstream, clock):
    upstream.streams(*"abcdefghij", gap_s=0.1)
    proxy = await hasty(**TOTAL)

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi", stream=True))

    assert answer.status == 200
    assert answer.text.startswith("ab")
    assert answer.error["code"] == "deadline_passed"
    assert not answer.done
    assert took_s == pytest.approx(0.5)
    await all_is_given_back(proxy, upstream, clock)


async def test_it_bounds_waiting_for_a_credential_too(hasty, upstream, clock):
    upstream.responds(429, headers={"retry-after": "2"})
    proxy = await hasty(**TOTAL)

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert len(answer.error["attempts"]) == 1
    assert took_s <= 0.5


@EITHER
@pytest.mark.parametrize("name", ["x-stainless-timeout", "x-stainless-read-timeout"])
async def test_a_client_gets_an_error_just_before_its_own_timeout(hasty, upstream, name, stream, clock):
    upstream.says(stall())
    proxy = await hasty()

    answer, took_s = await clock.timed(
        proxy.post("/chat/completions", {**CHAT, "stream": stream}, headers={name: "0.5"})
    )

    assert (answer.status, answer.error["code"]) == (504, "deadline_passed")
    assert took_s == pytest.approx(0.475), "a little early"
    await all_is_given_back(proxy, upstream, clock)


@pytest.mark.parametrize("name", ["x-stainless-timeout", "x-stainless-read-timeout"])
async def test_a_client_that_reads_already_is_not_interrupted(hasty, upstream, name, clock):
    upstream.streams(*"abcdef", gap_s=0.1)
    proxy = await hasty()

    answer = await clock.run(proxy.post("/chat/completions", {**CHAT, "stream": True}, headers={name: "0.4"}))

    assert (answer.text, answer.done) == ("abcdef", True)


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan", "inf", "1e400"])
async def test_a_patience_that_cannot_be_read_is_none(hasty, upstream, value, clock):
    upstream.says(pause(0.05), chunk({"content": "x"}), chunk({}, finish="stop"))
    proxy = await hasty()

    answer = await clock.run(proxy.post("/chat/completions", CHAT, headers={"x-stainless-timeout": value}))

    assert answer.status == 200


async def test_the_clients_patience_does_not_go_upstream(hasty, upstream, clock):
    proxy = await hasty()

    await proxy.post("/chat/completions", CHAT, headers={"x-stainless-timeout": "60", "x-session-id": "s"})

    assert not [name for name in upstream.last.headers if "stainless" in name or "session" in name]
