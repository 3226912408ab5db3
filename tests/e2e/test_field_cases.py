"""What real upstreams and networks did to gateways, each with the smallest bytes that show it, and the right result.

``up`` is the provider that misbehaves, ``good`` one that answers "hello", ``both`` a model of ``up``, then ``good``.
"""

import json
from contextlib import asynccontextmanager

import pytest

from proxy_core.testing.upstream import FakeUpstream, chunk, pause, stall

DONE = b"data: [DONE]\n\n"
ONCE = chunk({"content": "Once"})
TOOL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}


def head(*lines, kind="text/event-stream"):
    """A response's head."""
    return "\r\n".join(["HTTP/1.1 200 OK", f"content-type: {kind}", *lines, "", ""]).encode()


def framed(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


CHUNKED = head("transfer-encoding: chunked")
WHOLE = json.dumps(
    {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "hello"}}]}
).encode()
LENGTH = f"content-length: {len(WHOLE)}"
JSON = "application/json"


@pytest.fixture
async def good():
    async with FakeUpstream() as running:
        yield running


@pytest.fixture
async def make(make_proxy, upstream, good):
    """Starts the proxy; ``up`` may get more settings."""

    async def start(settings=None, **of_up):
        up = {"base_url": upstream.url, "api_keys": ["k1"], **of_up}
        providers = {"up": up, "good": {"base_url": good.url, "api_keys": ["k2"]}}
        models = {"both": ["up/m", "good/m"]}
        return await make_proxy({"providers": providers, "models": models, **(settings or {})})

    return start


@pytest.fixture
async def proxy(make):
    return await make()


def failures_of(proxy, provider="up"):
    """How many failed attempts in a row the provider's circuit breaker has counted."""
    return proxy.proxy.pools[provider].ledger.streak


# --- Invalid HTTP ------------------------------------------------------------------------


async def test_a_header_of_9000_bytes_is_accepted(proxy, upstream):
    upstream.sends(head(f"x-trace: {'a' * 9000}", LENGTH, kind=JSON) + WHOLE)

    answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.text) == (200, "hello")


INVALID = {
    "another protocol's banner": b"SSH-2.0-OpenSSH_9\r\n",
    "two lengths": head(LENGTH, LENGTH, kind=JSON) + WHOLE,
    "a header without a name": head(": x", LENGTH, kind=JSON) + WHOLE,
    "a header that does not end": head(f"x-trace: {'a' * 200_000}", LENGTH, kind=JSON) + WHOLE,
    "a first chunk without a size": CHUNKED + b"ZZ\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-",
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID)
async def test_invalid_http_is_a_failure_of_the_upstream(proxy, upstream, sent, stream):
    upstream.sends(sent)

    answer = await proxy.chat("both", "hi", stream=stream)
    alone = await proxy.chat("up/m", "hi", stream=stream)

    assert (answer.status, answer.text) == (200, "hello")
    assert (alone.status, alone.error["code"]) == (502, "upstream_error")
    assert failures_of(proxy) >= 2


LOST = {
    "a chunk without a size": b"ZZZ\r\nxx\r\n",
    "a chunk without its end": f"{len(ONCE):x}\r\n".encode() + ONCE + b"XX\r\n",
    "a chunk of a negative size": b"-5\r\nhello\r\n",
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_framing_that_is_lost_in_mid_stream_is_a_cut_at_once(make, upstream, lost):
    proxy = await make({"timeouts": {"idle_s": 20}})
    upstream.sends(CHUNKED, framed(ONCE), pause(0.1), lost, stall())

    answer = await proxy.chat("up/m", "hi", stream=True)

    assert answer.text.startswith("Once")
    assert (answer.error["code"], answer.done) == ("upstream_cut_off", False)


# --- Dead connections in the pool --------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("ending", ["reset", "close"])
async def test_dead_connections_in_the_pool_are_replaced_unnoticed(proxy, upstream, ending, stream):
    async with three_pooled(proxy, upstream):
        upstream.ends_reused = ending
    before = len(upstream.requests)

    answers = [await proxy.chat("up/m", "hi", stream=stream) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].headers["x-proxy-attempts"] == "1"
    assert len(upstream.requests) == before + 2
    assert failures_of(proxy) == 0


@asynccontextmanager
async def three_pooled(proxy, upstream):
    """Three requests at once leave three connections in the pool."""
    import asyncio

    upstream.says(pause(0.05), ONCE, chunk({}, finish="stop"), DONE)
    await asyncio.gather(*(proxy.chat("up/m", "hi", stream=True) for _ in range(3)))
    upstream.queue.clear()
    yield


async def test_a_large_request_is_sent_again_on_a_fresh_connection(proxy, upstream):
    async with three_pooled(proxy, upstream):
        upstream.ends_reused = "reset"

    answer = await proxy.chat("up/m", "x" * 2_000_000)

    assert answer.status == 200
    assert len(upstream.last.body) > 2_000_000


async def test_a_host_that_drops_fresh_connections_too_is_a_failure(proxy, upstream):
    async with three_pooled(proxy, upstream):
        upstream.ends_reused = "reset"
    upstream.resets()

    answer = await proxy.chat("up/m", "hi")

    assert answer.status == 502
    assert failures_of(proxy) > 0
