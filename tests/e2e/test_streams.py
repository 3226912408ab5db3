"""Complete, cut off, stalled and client-left are told apart."""

import asyncio
import json
import time

import httpx
import pytest

from proxy_core.testing import chunk, cut, pause, stall


@pytest.mark.parametrize(("status", "told"), [(400, 400), (422, 422), (500, 502), (503, 503), (429, 429), (504, 504)])
async def test_an_upstream_failure_before_the_stream_is_a_real_status(proxy, upstream, status, told):
    upstream.responds(status)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.status == told
    assert "scripted" in answer.error["message"]


async def test_an_error_as_first_event_is_a_real_status(proxy, upstream):
    error = {"error": {"message": "too many", "type": "rate_limit_error", "code": 429}}
    upstream.says(b"data: " + json.dumps(error).encode() + b"\n\n")

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.status == 429
    assert upstream.keys_seen == ["key-a", "key-b"]


async def test_an_error_behind_status_200_is_an_error(proxy, upstream):
    upstream.responds(json_body={"error": {"message": "bad field", "type": "invalid_request_error", "code": 400}})

    assert (await proxy.chat("demo/small", "hi")).status == 400


async def test_an_error_after_content_is_reported_in_the_stream(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-of-a-team"]}}})
    error = b'data: {"error":{"message":"key-of-a-team is over its limit","code":500}}\n\n'
    upstream.says(chunk({"content": "hel"}), pause(0.02), error, b"data: [DONE]\n\n")

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.status == 200
    assert answer.text == "hel"
    assert "[redacted] is over its limit" in answer.error["message"]
    assert not answer.done
    assert len(upstream.requests) == 1


BROKEN_ENDS = {
    "connection reset": ([chunk({"content": "hel"}), pause(0.02), cut()], False),
    "clean end without a finish": ([chunk({"content": "hel"})], False),
    "close-delimited end without a finish": ([chunk({"content": "hel"})], True),
    "half an event": ([chunk({"content": "hel"}), chunk({"content": "lo"})[:-20]], True),
    "reset after the finish": ([chunk({"content": "hel"}), chunk({}, finish="stop"), pause(0.02), cut()], False),
}


@pytest.mark.parametrize("steps_and_close", BROKEN_ENDS.values(), ids=BROKEN_ENDS)
async def test_a_broken_end_is_an_error_and_never_a_clean_one(proxy, upstream, steps_and_close):
    steps, close = steps_and_close
    upstream.says(*steps, close=close)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "hel"
    assert answer.error["code"] == "upstream_cut_off"
    assert not answer.done
    assert len(upstream.requests) == 1, "nothing is replayed after the commit"


async def test_a_stream_that_breaks_before_its_first_event_is_retried(proxy, upstream):
    upstream.for_key("key-a").says(b": nothing yet\n\n", pause(0.02), cut())
    upstream.for_key("key-a").streams("fine")

    assert (await proxy.chat("demo/small", "hi", stream=True)).text == "fine"


async def test_a_stalled_stream_ends_with_an_error(make_proxy, upstream):
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "timeouts": {"idle_s": 0.3}})
    upstream.says(chunk({"content": "hel"}), stall())

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "hel"
    assert answer.error["code"] == "timeout"
    assert not answer.done
    await asyncio.wait_for(upstream.last.left.wait(), 20)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("steps", [[stall()], [chunk({"content": "hel"}), stall()]], ids=["before", "after"])
async def test_the_upstream_is_closed_within_100_ms_when_the_client_leaves(hosted, upstream, stream, steps):
    upstream.says(*steps)
    took = [await _closing_s(hosted, upstream, stream, heard=len(steps) > 1)]
    while min(took) >= 0.1 and len(took) < 5:  # on a busy machine another program may have its turn meanwhile
        took.append(await _closing_s(hosted, upstream, stream, heard=len(steps) > 1))

    assert min(took) < 0.1
    assert len(upstream.requests) == len(took), "nobody is asked again for a client that left"


async def _closing_s(proxy, upstream, stream, *, heard):
    """From when a client leaves until the upstream's connection closes."""
    before = len(upstream.requests)
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.split(":")[2].removesuffix("/v1")))
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key}\r\n"
    writer.write(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    while len(upstream.requests) == before:
        await asyncio.sleep(0.005)
    if stream and heard:
        await reader.readuntil(b"hel")
    await asyncio.sleep(0.05)

    left_at = time.monotonic()
    writer.close()
    await asyncio.wait_for(upstream.last.left.wait(), 20)
    return upstream.last.left_at - left_at


async def test_a_plain_upstream_response_becomes_a_stream_for_a_client_that_asked_for_one(proxy, upstream):
    upstream.responds()

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "hello"
    assert answer.done
    assert answer.events[-1]["choices"][0]["finish_reason"] == "stop"


async def test_an_upstream_stream_becomes_a_plain_response_for_a_client_that_asked_for_none(proxy, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.json["choices"][0]["message"]["content"] == "hello"
    assert answer.json["usage"]["total_tokens"] == 5


async def test_a_response_that_is_no_json_is_a_502(proxy, upstream):
    upstream.responds(body=b"<html>hello</html>")

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 502


async def test_an_event_beyond_the_limit_ends_the_stream(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url}}, "streams": {"max_event_bytes": 2048}})
    upstream.says(chunk({"content": "hel"}), pause(0.02), b"data: " + b"x" * 5000)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert "2048" in answer.error["message"]
    assert not answer.done


async def test_a_response_beyond_the_limit_is_refused(make_proxy, upstream):
    proxy = await make_proxy(
        {"providers": {"demo": {"base_url": upstream.url}}, "upstream": {"max_response_bytes": 2048}}
    )
    upstream.responds(json_body={"choices": ["x" * 5000]})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 502
    assert "cannot be read: it is larger than upstream.max_response_bytes allows." in answer.error["message"]


async def test_a_first_event_beyond_the_limit_is_refused_and_names_the_limit(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url}}, "streams": {"max_event_bytes": 2048}})
    upstream.says(b"data: " + b"x" * 5000)

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.status == 502
    assert "streams.max_event_bytes" in answer.error["message"]


async def test_many_streams_at_once_stay_apart(proxy, upstream):
    upstream.streams(*"abcdefghij", gap_s=0.01)

    answers = await asyncio.gather(*(proxy.chat("demo/small", "hi", stream=True) for _ in range(40)))

    assert {a.text for a in answers} == {"abcdefghij"}
    assert all(a.done for a in answers)


async def test_events_arrive_as_they_are_sent(proxy, upstream):
    heard = asyncio.Event()
    upstream.says(chunk({"content": "first"}), heard, chunk({}, finish="stop"), b"data: [DONE]\n\n")
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    async with httpx.AsyncClient() as client:
        headers = {"authorization": f"Bearer {proxy.key}"}
        async with client.stream("POST", proxy.url + "/chat/completions", json=body, headers=headers) as reply:
            received = b""
            async with asyncio.timeout(20):
                async for piece in reply.aiter_raw():
                    received += piece
                    if b"first" in received:
                        heard.set()

    assert received.endswith(b"data: [DONE]\n\n")
