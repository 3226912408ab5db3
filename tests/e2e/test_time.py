"""Waiting, racing, giving up and trying again in real time: once each, over sockets.

Everything else there is to say of it is said on a virtual clock, in ``tests/pipeline``.
"""

import asyncio
import time

import pytest

from proxy_core.testing import chunk, fingerprint, pause, stall

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def start(make_proxy, upstream):
    """Makes a proxy that has a connection to its upstream: the first one takes its time, which would count."""

    async def make(*keys, **tables):
        routing = {"selector": "sequential", "max_wait_s": 3, "retry_jitter_s": 0, **tables.pop("routing", {})}
        provider = {"base_url": upstream.url, "api_keys": keys, "rotation": tables.pop("rotation", {})}
        proxy = await make_proxy({"providers": {"demo": provider}, "routing": routing, **tables})
        upstream.for_path("/models").responds(json_body={"data": []})
        await proxy.get("/models")
        upstream.requests.clear()
        return proxy

    return make


async def timed(asked):
    began = time.monotonic()
    return await asked, time.monotonic() - began


async def all_is_given_back(proxy):
    async with asyncio.timeout(20):
        while proxy.proxy.pools["demo"].in_flight:
            await asyncio.sleep(0.005)


async def test_a_request_waits_for_a_cooldown(start, upstream):
    upstream.responds(429, headers={"retry-after-ms": "1000"})
    upstream.streams("fine")
    proxy = await start("key-a", routing={"attempts_per_credential": 1})

    answer, took_s = await timed(proxy.chat("demo/small", "hi", stream=True))

    assert answer.text == "fine"
    assert took_s >= 1
    assert answer.headers["x-proxy-attempts"] == "2"


async def test_a_lease_that_comes_back_wakes_the_next(start, upstream):
    upstream.says(pause(0.05), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await start("key-a", rotation={"max_concurrent": 1})

    answers = await asyncio.gather(*(proxy.chat("demo/small", "hi", stream=True) for _ in range(4)))

    assert [answer.text for answer in answers] == ["x"] * 4
    gaps = [later.at - earlier.at for earlier, later in zip(upstream.requests, upstream.requests[1:], strict=False)]
    assert min(gaps) >= 0.045, "one after the other"
    await all_is_given_back(proxy)


async def test_a_second_credential_is_tried_while_the_first_is_silent(start, upstream):
    upstream.for_key("key-a").says(stall())
    proxy = await start("key-a", "key-b", routing={"hedge_after_s": 0.1})

    answer, took_s = await timed(proxy.chat("demo/small", "hi", stream=True))

    assert answer.text == "hello"
    assert answer.headers["x-proxy-credential"] == fingerprint("key-b")
    assert took_s >= 0.1
    await asyncio.wait_for(upstream.requests[0].left.wait(), 20)
    await all_is_given_back(proxy)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_requests_time_ends(start, upstream, stream):
    upstream.says(stall())
    proxy = await start("key-a", timeouts={"total_s": 0.3})

    answer, took_s = await timed(proxy.chat("demo/small", "hi", stream=stream))

    assert (answer.status, answer.error["code"]) == (504, "deadline_passed")
    assert took_s > 0.25
    await asyncio.wait_for(upstream.last.left.wait(), 20)
    await all_is_given_back(proxy)


async def test_a_clients_patience_ends(start, upstream):
    upstream.says(stall())
    proxy = await start("key-a")

    answer, took_s = await timed(proxy.post("/chat/completions", CHAT, headers={"x-stainless-timeout": "0.4"}))

    assert (answer.status, answer.error["code"]) == (504, "deadline_passed")
    assert took_s > 0.35
    await asyncio.wait_for(upstream.last.left.wait(), 20)


async def test_a_lost_connection_is_retried_after_a_moment(start, upstream):
    upstream.resets()  # on the connection from the pool: it may have been dead, so a new one is tried at once
    upstream.resets()
    upstream.responds()
    proxy = await start("key-a", routing={"retry_delay_s": 1})

    assert (await proxy.chat("demo/small", "hi")).text == "hello"
    assert upstream.keys_seen == ["key-a"] * 3
    assert upstream.requests[1].at - upstream.requests[0].at < 0.9
    assert upstream.requests[2].at - upstream.requests[1].at > 0.9


async def test_a_provider_that_always_fails_is_retried_and_then_reported(start, upstream):
    upstream.responds(500)
    proxy = await start("key-a", "key-b", routing={"retry_delay_s": 0.05})

    answer = await proxy.chat("demo/small", "hi")

    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert set(upstream.keys_seen) == {"key-a", "key-b"}
    gaps = [later.at - earlier.at for earlier, later in zip(upstream.requests, upstream.requests[1:], strict=False)]
    assert min(gaps[0], gaps[2]) > 0.04


async def test_requests_for_embeddings_become_one(start, upstream):
    vectors = [{"object": "embedding", "index": n, "embedding": [float(n)]} for n in range(2)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    upstream.responds(json_body={"object": "list", "data": vectors, "model": "small", "usage": usage})
    proxy = await start("key-a", embeddings={"batch_window_s": 1, "batch_inputs": 2})
    asked = ({"model": "demo/small", "input": text} for text in ("a", "b"))

    answers = await asyncio.gather(*(proxy.post("/embeddings", body) for body in asked))

    assert sorted(answer.json["data"][0]["embedding"] for answer in answers) == [[0.0], [1.0]]
    assert [sorted(request.json["input"]) for request in upstream.requests] == [["a", "b"]]
