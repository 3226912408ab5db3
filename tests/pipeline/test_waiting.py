"""Waiting for a credential: for how long, in which order, what ends it, and who is woken."""

import asyncio

import pytest

from proxy_core.testing import chunk, pause, stall

#: The shortest rest there is.
QUICK = {"retry-after-ms": "1000"}
SLOW = {"retry-after": "30"}
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


def demo(*keys, rotation=None, **routing):
    provider = {"api_keys": keys or ["key-a"], "rotation": rotation or {}}
    routing = {"selector": "sequential", "max_wait_s": 2, "attempts_per_credential": 1} | routing
    return {"providers": {"demo": provider}, "routing": routing}


def pool(proxy):
    return proxy.proxy.pools["demo"]


def running(proxy):
    return len(proxy.proxy.services.running.scopes)


@pytest.fixture
def begin(clock):
    """Asks, and returns when nothing more happens without time."""

    async def begin(asked):
        task = asyncio.ensure_future(asked)
        await clock.settle()
        return task

    return begin


@pytest.fixture
def leave(clock):
    async def leave(task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await clock.settle()

    return leave


async def many(proxy, count, model="demo/small", **fields):
    return await asyncio.gather(*(proxy.chat(model, "hi", **fields) for _ in range(count)))


# --- For a rest to end -------------------------------------------------------------------


@EITHER
async def test_a_request_waits_for_a_cooldown_that_ends_within_max_wait_s(make_proxy, upstream, clock, stream):
    for key in ("key-a", "key-b"):
        upstream.for_key(key).responds(429, headers=QUICK)
        upstream.for_key(key).streams("fine")
    proxy = await make_proxy(demo("key-a", "key-b"))

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.text == "fine"
    assert took_s == pytest.approx(1)
    assert answer.headers["x-proxy-attempts"] == "3"
    assert pool(proxy).in_flight == 0


async def test_a_cooldown_longer_than_max_wait_s_is_reported_at_once(make_proxy, upstream, clock):
    upstream.responds(429, headers={"retry-after-ms": "2500"})
    proxy = await make_proxy(demo())
    await proxy.chat("demo/small", "hi")

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert took_s == 0
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["retry-after-ms"] == "2500"
    assert len(upstream.requests) == 1


async def test_the_budget_bounds_waiting_and_starting_but_no_attempt_in_flight(make_proxy, upstream, clock):
    upstream.for_key("key-a").responds(429, headers=QUICK)
    upstream.for_key("key-a").says(pause(5), chunk({"content": "late"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo(max_wait_s=1.5))

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi", stream=True))

    assert answer.text == "late"
    assert took_s == pytest.approx(6)


# --- For somebody else's lease -----------------------------------------------------------


async def test_requests_beyond_max_concurrent_queue_and_all_succeed(make_proxy, upstream, clock):
    upstream.says(pause(0.05), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo(rotation={"max_concurrent": 1}))

    answers, took_s = await clock.timed(many(proxy, 8, stream=True))

    assert [answer.text for answer in answers] == ["x"] * 8
    assert took_s == pytest.approx(8 * 0.05)
    gaps = [later.at - earlier.at for earlier, later in zip(upstream.requests, upstream.requests[1:], strict=False)]
    assert gaps == pytest.approx([0.05] * 7), "one after the other, with no pause between"
    assert pool(proxy).in_flight == 0


async def test_the_queue_is_bounded_by_the_budget(make_proxy, upstream, clock, begin, leave):
    upstream.says(chunk({"content": "x"}), stall())
    proxy = await make_proxy(demo(rotation={"max_concurrent": 1}, max_wait_s=0.3))
    holder = await begin(proxy.chat("demo/small", "hi", stream=True))
    assert len(upstream.requests) == 1

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))
    await leave(holder)

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert answer.error["proxy_code"] == "capacity_exhausted"
    assert "busy" in answer.error["message"]
    assert took_s == pytest.approx(0.3)
    assert answer.headers["retry-after"] == "1"
    assert len(upstream.requests) == 1


async def test_a_request_waiting_for_a_busy_credential_takes_one_whose_cooldown_ends_first(
    make_proxy, upstream, clock, begin, leave
):
    upstream.for_key("key-a").responds(429, headers=QUICK)
    upstream.for_key("key-a").responds()
    upstream.for_key("key-b").says(chunk({"content": "x"}), stall())
    proxy = await make_proxy(demo("key-a", "key-b", rotation={"max_concurrent": 1}))
    holder = await begin(proxy.chat("demo/small", "hi", stream=True))
    assert upstream.keys_seen == ["key-a", "key-b"]

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))
    await leave(holder)

    assert answer.text == "hello"
    assert took_s == pytest.approx(1)


async def test_a_waiting_client_that_leaves_costs_nothing(make_proxy, upstream, clock, begin, leave):
    upstream.says(chunk({"content": "x"}), pause(0.4), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    upstream.responds()
    proxy = await make_proxy(demo(rotation={"max_concurrent": 1}))
    holder = await begin(proxy.chat("demo/small", "hi", stream=True))
    leaving = [await begin(proxy.chat("demo/small", "hi")) for _ in range(3)]
    staying = await begin(proxy.chat("demo/small", "hi"))
    assert (len(upstream.requests), running(proxy)) == (1, 5)

    for task in leaving:
        await leave(task)
    assert running(proxy) == 2

    assert (await clock.run(holder)).text == "x"
    assert (await clock.run(staying)).text == "hello"
    assert len(upstream.requests) == 2
    assert pool(proxy).in_flight == 0


async def test_ending_a_cooldown_wakes_its_waiters(make_proxy, upstream, clock, begin):
    upstream.responds(429, headers=SLOW)
    upstream.responds()
    proxy = await make_proxy(demo(max_wait_s=60))
    first = await begin(proxy.chat("demo/small", "hi"))
    assert proxy.cooldown_s("key-a") == pytest.approx(30)
    waiting = await begin(many(proxy, 5))
    assert running(proxy) == 6

    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    reply = await proxy.client.post(
        proxy.url.removesuffix("/v1") + "/admin/cooldowns/clear", headers={"authorization": f"Bearer {key}"}
    )
    answers, took_s = await clock.timed(waiting)
    answers.append(await first)

    assert reply.json()["processes"][0]["cleared"] == 1
    assert [answer.text for answer in answers] == ["hello"] * 6
    assert took_s == 0


# --- Coming back -------------------------------------------------------------------------


async def test_a_circuit_breaker_opens_once_and_one_probe_closes_it(make_proxy, upstream, clock):
    keys = [f"key-{n}" for n in range(10)]
    upstream.responds(500)
    proxy = await make_proxy(demo(*keys, circuit_breaker_failures=3, max_cooldown_s=0.6, max_wait_s=0.4))

    first = await clock.run(proxy.chat("demo/small", "hi"))
    second = await clock.run(proxy.chat("demo/small", "hi"))

    assert (first.status, second.status) == (502, 502)
    assert first.headers["retry-after"] == second.headers["retry-after"] == "1"
    assert len(upstream.requests) == 3, "three failures in a row, not one for each key"
    assert "circuit breaker is open" in second.error["message"]
    assert [proxy.cooldown_s(key) for key in keys] == [0] * 10

    upstream.queue.clear()
    upstream.says(pause(0.1), chunk({"content": "back"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    clock.passes(0.6)
    answers = await clock.run(many(proxy, 20, stream=True))

    assert [answer.text for answer in answers] == ["back"] * 20
    probe, *others = (request.at for request in upstream.requests[3:])
    assert [other - probe for other in others] == pytest.approx([0.1] * 19)
    assert pool(proxy).ledger.outage is None


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("keys", [1, 2, 3, 9])
async def test_nobody_waits_for_a_provider_that_is_down(make_proxy, upstream, clock, keys, stream):
    upstream.responds(500, {"error": {"message": "engine dead"}})
    routing = {"retry_delay_s": 0.25, "retry_jitter_s": 0}
    keys = [f"key-{n}" for n in range(keys)]
    proxy = await make_proxy({"providers": {"demo": {"api_keys": keys}}, "routing": routing})

    took = []
    for _ in range(6):
        answer, took_s = await clock.timed(proxy.chat("demo/small", "hi", stream=stream))
        took.append(took_s)
        assert answer.status == 502
        assert "engine dead" in answer.error["message"]
        assert int(answer.headers.get("retry-after", 0)) <= 5
    assert sorted(took)[-2] <= 1
    assert max(took) <= 11, "one waits for the first probe, because a short outage should fail nobody"
    assert len(upstream.requests) == 6, "then the circuit breaker stays open"
    clock.passes(30)
    upstream.queue.clear()
    assert (await clock.run(proxy.chat("demo/small", "hi", stream=stream))).text == "hello"


async def test_a_short_outage_fails_nobody(make_proxy, upstream, clock):
    for _ in range(5):
        upstream.responds(500)
    upstream.responds()
    proxy = await make_proxy({"providers": {"demo": {"api_keys": [f"key-{n}" for n in range(9)]}}})

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))
    others, _ = await clock.timed(many(proxy, 20))

    assert (answer.text, [other.text for other in others]) == ("hello", ["hello"] * 20)
    assert 10 <= took_s <= 12


async def test_an_outage_whose_end_the_provider_names_is_waited_for(make_proxy, upstream, clock):
    upstream.responds(503, headers={"retry-after": "12"})
    upstream.responds()
    proxy = await make_proxy(
        {"providers": {"demo": {"api_keys": ["key-a"]}}, "routing": {"circuit_breaker_failures": 1}}
    )

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert (answer.text, took_s) == ("hello", pytest.approx(12))


async def test_if_the_client_of_a_probe_leaves_another_request_probes(make_proxy, upstream, clock, begin, leave):
    upstream.responds(429, headers=QUICK)
    upstream.says(stall())
    upstream.responds()
    proxy = await make_proxy(demo())
    probing = await begin(proxy.chat("demo/small", "hi"))
    clock.passes(1)
    waiting = await begin(proxy.chat("demo/small", "hi"))
    assert (len(upstream.requests), running(proxy)) == (2, 2)

    await leave(probing)

    answer, took_s = await clock.timed(waiting)
    assert (answer.text, took_s) == ("hello", 0)
    assert proxy.cooldown_s("key-a") == 0


# --- Who is told when a credential may be had -----------------------------------------------


async def test_a_returned_lease_reaches_a_waiter_that_can_use_it(make_proxy, upstream, clock, begin):
    """Who waits longest waits for another model, whose rest goes on."""
    upstream.responds(429, headers={"retry-after-ms": "1200"})
    upstream.says(chunk({"content": "x"}), pause(0.3), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    upstream.responds()
    proxy = await make_proxy(demo(rotation={"max_concurrent": 1}))
    longest = await begin(proxy.chat("demo/limited", "hi"))
    assert proxy.cooldown_s("key-a")
    holder = await begin(proxy.chat("demo/small", "hi", stream=True))
    assert len(upstream.requests) == 2
    clock.passes(0.05)

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))
    await clock.run(asyncio.gather(holder, longest))

    assert answer.text == "hello"
    assert took_s == pytest.approx(0.25)


async def test_after_a_cooldown_one_request_probes_and_then_the_others_follow(make_proxy, upstream, clock, begin):
    """One request, not a herd; and when it was answered the others do not go one by one."""
    upstream.responds(429, headers=QUICK)
    upstream.says(pause(0.3), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo())

    first = await begin(proxy.chat("demo/small", "hi", stream=True))

    answers = [*await clock.run(many(proxy, 19, stream=True)), await first]

    assert [answer.text for answer in answers] == ["x"] * 20
    limited, probe, *others = (request.at for request in upstream.requests)
    assert probe - limited == pytest.approx(1)
    assert [other - probe for other in others] == pytest.approx([0.3] * 19), "when the first of them was answered"


async def test_if_the_probe_fails_the_waiting_requests_fail_at_once(make_proxy, upstream, clock, begin):
    upstream.responds(429, headers=QUICK)
    upstream.says(pause(0.2), b'data: {"error":{"message":"no","code":429}}\n\n', headers=SLOW)
    proxy = await make_proxy(demo(max_wait_s=5))

    first = await begin(proxy.chat("demo/small", "hi", stream=True))

    answers, took_s = await clock.timed(many(proxy, 10, stream=True))
    answers.append(await first)

    assert {answer.status for answer in answers} == {429}
    assert len(upstream.requests) == 2
    assert took_s == pytest.approx(1.2)


async def test_a_finished_waiter_is_removed_everywhere(make_proxy, upstream, clock):
    """Waiting at two providers leaves nothing behind at the one that never had anything to tell."""
    providers = {"demo": {"api_keys": ["key-a"]}, "other": {"api_keys": ["key-b"]}}
    upstream.for_key("key-b").responds(429, headers={"retry-after": "600"})
    upstream.for_key("key-a").responds(429, headers={"retry-after-ms": "20"})
    proxy = await make_proxy({"providers": providers, "models": {"best": ["other/x", "demo/x"]}})
    for _ in range(2):
        upstream.for_key("key-a").queue[:] = 2 * upstream.for_key("key-a").queue[-1:]
        upstream.for_key("key-a").responds()
        await clock.run(proxy.chat("best", "hi"))
        upstream.for_key("key-a").queue[:] = []
        upstream.for_key("key-a").responds(429, headers={"retry-after-ms": "20"})

    assert sum(p.waiting for p in proxy.proxy.pools.values()) == 0
