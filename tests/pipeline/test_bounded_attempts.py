"""How often one request tries the same credential, and how a client's own timeout bounds the waiting."""

import asyncio

import pytest

from proxy_core.testing import chunk, stall

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
HEADERS = ["x-stainless-timeout", "x-stainless-read-timeout", "x-server-timeout"]
EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


def settings(*keys, **more):
    return {"providers": {"demo": {"api_keys": list(keys)}}, **more}


async def ask(proxy, clock, stream=False, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await clock.timed(proxy.post("/chat/completions", {**CHAT, "stream": stream}, headers=headers))


@EITHER
@pytest.mark.parametrize("headers", [{"retry-after": "2"}, {"retry-after-ms": "1500"}, {"retry-after": "0"}])
async def test_one_key_that_is_always_limited_is_tried_twice(make_proxy, upstream, clock, headers, stream):
    upstream.responds(429, {"error": {"message": "Slow down."}}, headers=headers)
    proxy = await make_proxy(settings("key-a"))

    answer, took_s = await ask(proxy, clock, stream)

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "Slow down." in answer.error["message"]
    assert len(upstream.requests) == 2
    assert took_s <= 2
    assert "retry-after" in answer.headers


async def test_each_of_several_keys_is_tried_twice(make_proxy, upstream, clock):
    upstream.responds(429, headers={"retry-after": "2"})
    proxy = await make_proxy(settings("key-a", "key-b", "key-c"))

    answer, _ = await ask(proxy, clock)

    assert answer.status == 429
    assert sorted(upstream.keys_seen) == ["key-a", "key-a", "key-b", "key-b", "key-c", "key-c"]


async def test_a_client_that_asks_again_is_served_again(make_proxy, upstream, clock):
    """The official client asks three times, and sleeps as it is told in between."""
    upstream.responds(429, headers={"retry-after": "2"})
    proxy = await make_proxy(settings("key-a"))

    for _ in range(3):
        answer, _ = await ask(proxy, clock)
        assert answer.status == 429
        clock.passes(float(answer.headers["retry-after"]))

    assert len(upstream.requests) == 6


@EITHER
@pytest.mark.parametrize("name", HEADERS)
async def test_a_limit_beyond_the_clients_timeout_is_reported_at_once(make_proxy, upstream, clock, name, stream):
    upstream.responds(429, {"error": {"message": "Slow down."}}, headers={"retry-after": "8"})
    proxy = await make_proxy(settings("key-a"))

    for _ in range(3):
        answer, took_s = await ask(proxy, clock, stream, **{name: "5"})

        assert (answer.status, answer.error["code"], took_s) == (429, "rate_limit_exceeded", 0)
        assert answer.headers["retry-after"] == "8"
        assert "Slow down." in answer.error["message"]


@pytest.mark.parametrize("limit_s", [1, 2, 3, 4, 5, 6, 30])
@pytest.mark.parametrize("timeout_s", [1, 2, 5, 10, 60])
async def test_whatever_the_times_are_a_limited_client_is_told_of_the_limit_in_time(
    make_proxy, upstream, clock, limit_s, timeout_s
):
    upstream.responds(429, headers={"retry-after": str(limit_s)})
    proxy = await make_proxy(settings("key-a", "key-b"))

    answer, took_s = await ask(proxy, clock, x_stainless_timeout=str(timeout_s))

    assert answer.status == 429
    assert took_s < timeout_s


async def test_a_wait_that_fits_the_clients_timeout_is_made(make_proxy, upstream, clock):
    upstream.responds(429, headers={"retry-after": "2"})
    upstream.responds()
    proxy = await make_proxy(settings("key-a"))

    answer, took_s = await ask(proxy, clock, x_stainless_timeout="5")

    assert (answer.text, took_s) == ("hello", 2)


async def test_the_wait_for_a_busy_credential_is_bounded_too(make_proxy, upstream, clock):
    upstream.says(chunk({"content": "x"}), stall())
    proxy = await make_proxy({"providers": {"demo": {"api_keys": ["key-a"], "rotation": {"max_concurrent": 1}}}})
    holder = asyncio.ensure_future(proxy.chat("demo/small", "hi", stream=True))
    await clock.settle()

    answer, took_s = await ask(proxy, clock, x_stainless_timeout="5")
    holder.cancel()

    assert (answer.status, answer.error["proxy_code"]) == (429, "capacity_exhausted")
    assert took_s < 5


@EITHER
async def test_if_another_upstream_hangs_the_limit_is_the_error(make_proxy, upstream, clock, stream):
    upstream.for_key("key-1").responds(429, {"error": {"message": "Slow down."}}, headers={"retry-after": "100"})
    upstream.for_key("key-2").says(stall())
    providers = {"one": {"api_keys": ["key-1"]}, "two": {"api_keys": ["key-2"]}}
    proxy = await make_proxy({"providers": providers, "models": {"demo/small": ["one/a", "two/b"]}})

    answer, took_s = await ask(proxy, clock, stream, x_stainless_timeout="5")

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "one is rate limited" in answer.error["message"]
    assert 95 <= int(answer.headers["retry-after"]) <= 96
    assert took_s == pytest.approx(4.75)
    assert [attempt["status"] for attempt in answer.error["attempts"]] == [429, None]


async def test_without_a_limit_the_time_that_ran_out_is_the_error(make_proxy, upstream, clock):
    upstream.for_key("key-1").responds(401)
    upstream.for_key("key-2").says(stall())
    providers = {"one": {"api_keys": ["key-1"]}, "two": {"api_keys": ["key-2"]}}
    proxy = await make_proxy({"providers": providers, "models": {"demo/small": ["one/a", "two/b"]}})

    answer, _ = await ask(proxy, clock, x_stainless_timeout="5")

    assert (answer.status, answer.error["code"]) == (504, "deadline_passed")


async def test_a_retry_that_cannot_be_in_time_is_not_waited_for(make_proxy, upstream, clock):
    upstream.responds(503, {"error": {"message": "Soon."}}, headers={"retry-after": "9"})
    proxy = await make_proxy(settings("key-a"))

    answer, took_s = await ask(proxy, clock, x_stainless_timeout="5")

    assert (answer.status, answer.error["code"], took_s) == (503, "server_is_overloaded", 0)
    assert answer.headers["retry-after"] == "9"
