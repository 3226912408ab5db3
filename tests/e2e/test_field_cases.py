"""What real upstreams and networks did to gateways, each with the smallest bytes that show it, and the right result.

``up`` is the provider that misbehaves, ``good`` one that answers "hello", ``both`` a model of ``up``, then ``good``.
"""

import asyncio
import gzip
import json
import socket
import time
import zlib
from contextlib import asynccontextmanager
from functools import partial

import brotli
import httpx
import pytest
import zstandard

import proxy_core
from proxy_core.dialects.openai_chat import OpenAIUsageTap
from proxy_core.pipeline.relayed import RelayedStream
from proxy_core.testing.proxy import composed
from proxy_core.testing.steps import chunk, cut, pause, stall
from proxy_core.testing.upstream import FakeUpstream

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


class Watching:
    """Sees every event of a response and changes none, so that responses are translated, not relayed."""

    def feed(self, event):
        return [event]

    def close(self):
        return []


class MASKING:
    """A plugin with a sanitizer that reads responses."""

    PLUGIN = proxy_core.PluginInfo(name="masking", api=proxy_core.API)

    @staticmethod
    @proxy_core.hookimpl
    def proxy_sanitizers(ctx):
        return [proxy_core.Sanitizer(name="masking", events=lambda request: Watching())]


@pytest.fixture
async def good():
    async with FakeUpstream() as running:
        yield running


@pytest.fixture
async def make(make_proxy, upstream, good):
    """Starts the proxy; ``up`` may get more settings."""

    async def start(settings=None, modules=(), **of_up):
        up = {"base_url": upstream.url, "api_keys": ["k1"], **of_up}
        providers = {"up": up, "good": {"base_url": good.url, "api_keys": ["k2"]}}
        models = {"both": ["up/m", "good/m"]}
        return await make_proxy({"providers": providers, "models": models, **(settings or {})}, modules=modules)

    return start


@pytest.fixture
async def proxy(make):
    return await make()


def failures_of(proxy, provider="up"):
    """How many failed attempts in a row the provider's circuit breaker has counted."""
    return proxy.proxy.pools[provider].ledger.streak


# --- Invalid HTTP ------------------------------------------------------------------------


HEADERS = {
    "9,000 bytes": [f"x-trace: {'a' * 9000}"],
    "60,000 bytes": [f"x-trace: {'a' * 60_000}"],
    "300 of them": [f"x-trace-{n}: a" for n in range(300)],
    "the same twice": ["x-trace: a", "x-trace: b"],
    "bytes that are not ASCII": ["x-trace: caf\u00e9"],
    "an empty one": ["x-trace:"],
    "a long policy and cookies": [f"content-security-policy: {'a' * 12_000}", *(["set-cookie: a=b"] * 60)],
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_long_and_unusual_headers_are_accepted(proxy, upstream, headers):
    upstream.sends(head(*headers, LENGTH, kind=JSON) + WHOLE)

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


# --- Another key -------------------------------------------------------------------------

UNKNOWN_HERE = {
    "message": "The model `m` does not exist or you do not have access to it.",
    "type": "invalid_request_error",
    "param": None,
    "code": "model_not_found",
}
#: What the upstream answers to one key, and the error for the client if it answers so to every key.
ONE_KEY = {
    "closed without an answer": (lambda key: key.resets(), 502),
    "invalid HTTP": (lambda key: key.sends(b"SSH-2.0-OpenSSH_9\r\n"), 502),
    "a page": (lambda key: key.responds(body=b"<!doctype html><p>Log in", headers={"content-type": "text/html"}), 502),
    "no choices": (lambda key: key.responds(json_body={"id": "x", "object": "chat.completion", "choices": None}), 502),
    "nothing": (lambda key: key.responds(body=b""), 502),
    "an overload": (lambda key: key.responds(503, headers={"retry-after": "60"}), 503),
    "a failure": (lambda key: key.responds(500), 502),
    "a timeout of a gateway": (lambda key: key.responds(504), 504),
    "no access, perhaps": (lambda key: key.responds(404, {"error": UNKNOWN_HERE}), 404),
}


@pytest.mark.parametrize("path", ["plain", "streamed", "embeddings"])
@pytest.mark.parametrize(("fails", "status"), ONE_KEY.values(), ids=ONE_KEY)
async def test_what_happens_with_one_key_is_tried_with_the_next(make, upstream, good, fails, status, path):
    routing = {"selector": "sequential", "retry_delay_s": 0, "retry_jitter_s": 0, "circuit_breaker_failures": 20}
    proxy = await make({"routing": routing}, api_keys=["k1", "k2", "k3"])

    async def ask(model):
        if path == "embeddings":
            return await proxy.post("/embeddings", {"model": model, "input": "hi"})
        return await proxy.chat(model, "hi", stream=path == "streamed")

    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    fails(upstream.for_key("k1"))
    if path == "embeddings":
        upstream.responds(json_body=vectors)
        good.responds(json_body=vectors)
    first = await ask("up/m")
    used = list(dict.fromkeys(upstream.keys_seen))
    upstream.queue.clear()
    fails(upstream)
    fails(upstream.for_key("k2"))
    fails(upstream.for_key("k3"))
    elsewhere, alone = await ask("both"), await ask("up/m")

    assert (first.status, used) == (200, ["k1", "k2"])
    assert elsewhere.status == 200
    assert alone.status == status
    assert good.requests


async def test_a_host_that_cannot_be_reached_is_not_tried_with_every_key(make, good):
    keys = [f"k{n}" for n in range(9)]
    proxy = await make(base_url="http://127.0.0.1:9/v1", api_keys=keys)

    answer, alone = await proxy.chat("both", "hi"), await proxy.chat("up/m", "hi")

    assert (answer.status, answer.headers["x-proxy-attempts"]) == (200, "3")
    assert (alone.status, alone.headers["x-proxy-attempts"]) == (502, "2")
    assert "the connection was refused" in alone.error["message"]


# --- A 200 that is no response -----------------------------------------------------------

NO_BALANCE = {"success": False, "code": 1113, "msg": "no balance"}
DEAD = {"object": "error", "message": "engine dead", "code": 500}
NO_ANSWERS = {"id": "x", "object": "chat.completion", "choices": None}
#: The body, and what ``up`` alone leads to.
NO_RESPONSES = {
    "a code and a message": (NO_BALANCE, 502, "no balance"),
    "an object called error": (DEAD, 502, "engine dead"),
    "no choices": (NO_ANSWERS, 502, "cannot be read"),
    "an empty list of choices": ({**NO_ANSWERS, "choices": []}, 502, "cannot be read"),
    "an empty choice": ({**NO_ANSWERS, "choices": [{}]}, 502, "cannot be read"),
    "an error as a text": ({"error": "engine dead"}, 502, "engine dead"),
    "an error in a choice": ({"choices": [{"error": {"message": "engine dead", "code": 502}}]}, 502, "engine dead"),
    "a detail": ({"detail": "engine dead"}, 502, "engine dead"),
    "a limit": ({"code": 429, "message": "slow down"}, 429, "slow down"),
    "an empty object": ({}, 502, "cannot be read"),
    "an error that is true": ({"error": True, "message": "engine dead"}, 502, "engine dead"),
    "an error in a list": ([{"error": {"code": 429, "message": "slow down"}}], 429, "slow down"),
    "a choice that only fails": (
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}]},
        502,
        "it ended its response with the reason 'error'",
    ),
}


#: A limit is not waited for.
AT_ONCE = {"max_wait_s": 1}


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize(("body", "status", "told"), NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_a_200_that_is_no_response_is_a_failure(make, upstream, body, status, told, mask):
    proxy = await make({"routing": AT_ONCE}, modules=[MASKING] if mask else [])
    upstream.responds(202 if mask else 200, json_body=body)

    both, alone = await proxy.chat("both", "hi"), await proxy.chat("up/m", "hi")

    assert (both.status, both.text) == (200, "hello")
    assert alone.status == status
    assert told in alone.error["message"]


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize(("body", "status", "told"), NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_a_first_event_that_is_no_part_of_a_response_is_a_failure(make, upstream, body, status, told, mask):
    proxy = await make({"routing": AT_ONCE}, modules=[MASKING] if mask else [])
    upstream.says(b": queued\n\n", b"data: " + json.dumps(body).encode() + b"\n\n", DONE)

    both, alone = await proxy.chat("both", "hi", stream=True), await proxy.chat("up/m", "hi", stream=True)

    assert (both.status, both.text, both.error) == (200, "hello", None)
    assert (alone.status, alone.events) == (status, ())
    assert told in alone.error["message"]


PAGES = {
    "nothing": (b"", "it is empty"),
    "a page": (b"\n<!doctype html><p>Log in", "it is a web page"),
    "a text": (b"upstream connect error", "it is not a"),
    "half a response": (WHOLE[:-9], "it is not a"),
}


@pytest.mark.parametrize("path", ["plain", "streamed", "masked"])
@pytest.mark.parametrize(("body", "told"), PAGES.values(), ids=PAGES)
async def test_what_a_body_is_that_is_no_response_is_told(make, upstream, body, told, path):
    proxy = await make(modules=[MASKING] if path == "masked" else [])
    upstream.responds(body=body, headers={"content-type": "text/html"})

    alone = await proxy.chat("up/m", "hi", stream=path == "streamed")

    assert alone.status == 502
    assert f"cannot be read: {told}" in alone.error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("status", "told"), [(400, 502), (413, 413), (403, 502), (404, 502)])
async def test_a_web_servers_page_says_nothing_of_the_request(proxy, upstream, status, told, stream):
    """As of one that was sent plain HTTP at a port for TLS, or that limits bodies for itself."""
    upstream.responds(status, body=b"<html><h1>Bad Request</h1>", headers={"content-type": "text/html"})

    both, alone = await proxy.chat("both", "hi", stream=stream), await proxy.chat("up/m", "hi", stream=stream)

    assert (both.status, both.text, alone.status) == (200, "hello", told)


@pytest.mark.parametrize("reason", ["error", "network_error"])
@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
async def test_an_end_because_of_an_error_before_any_content_fails_over(make, upstream, mask, reason):
    proxy = await make(modules=[MASKING] if mask else [])
    upstream.says(chunk({"role": "assistant", "content": ""}), chunk({}, finish=reason), DONE)

    both, alone = await proxy.chat("both", "hi", stream=True), await proxy.chat("up/m", "hi", stream=True)

    assert (both.status, both.text, both.error) == (200, "hello", None)
    assert (alone.status, alone.events) == (502, ())
    assert reason in alone.error["message"]


FIRST_EVENTS = {
    "an event named error": b'event: error\ndata: {"code":"InvalidParameter","message":"engine dead"}\n\n',
    "the same without spaces": b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"X","message":"engine dead"}\n\n',
    "a text": b"data: engine dead\n\n",
    "an end marker": DONE,
    "nothing": b"",
}


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize("event", FIRST_EVENTS.values(), ids=FIRST_EVENTS)
async def test_a_stream_without_an_answer_is_a_failure(make, upstream, event, mask):
    proxy = await make(modules=[MASKING] if mask else [])
    upstream.says(event)

    answer = await proxy.chat("both", "hi", stream=True)

    assert (answer.status, answer.text, answer.error) == (200, "hello", None)


@pytest.mark.parametrize("body", [NO_BALANCE, DEAD, {"object": "list", "data": None}, {"object": "list", "data": []}])
async def test_embeddings_without_an_embedding_are_a_failure(proxy, upstream, good, body):
    upstream.responds(json_body=body)
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    good.responds(json_body=vectors)

    answer = await proxy.post("/embeddings", {"model": "both", "input": "hi"})

    assert answer.json == vectors


async def test_a_code_behind_a_200_means_what_the_vendors_row_says(make, upstream):
    proxy = await make(preset="zai")
    upstream.responds(json_body=NO_BALANCE)

    answer = await proxy.chat("up/m", "hi")

    assert (answer.status, answer.error["code"]) == (403, "insufficient_quota")


# --- Failing over until the first content ------------------------------------------------

ROLE = chunk({"role": "assistant", "content": ""})
PLACEHOLDERS = {
    "a role": [ROLE],
    "an empty text": [chunk({"content": ""})],
    "a usage of 0": [chunk(usage={"prompt_tokens": 0, "completion_tokens": 0})],
    "empty lists": [chunk({"role": "assistant", "content": None, "tool_calls": [], "reasoning_details": []})],
    "all of them": [b": queued\n\n", ROLE, chunk({"content": ""}), chunk(usage={"prompt_tokens": 0})],
}
ENDS = {
    "a cut": [pause(0.02), cut()],
    "a clean end": [],
    "an error": [b'data: {"error":{"message":"engine dead","code":500}}\n\n'],
    "lost framing": None,
}


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize("first", PLACEHOLDERS.values(), ids=PLACEHOLDERS)
async def test_what_is_no_content_can_still_be_replaced(make, upstream, first, mask):
    proxy = await make(modules=[MASKING] if mask else [])
    for name, end in ENDS.items():
        upstream.queue.clear()
        if end is None:
            upstream.sends(CHUNKED, *map(framed, first), pause(0.02), b"ZZ\r\n")
        else:
            upstream.says(*first, *end)

        answer = await proxy.chat("both", "hi", stream=True)

        assert (answer.status, answer.text, answer.error, answer.done) == (200, "hello", None, True), name


CONTENTS = {
    "text": chunk({"content": "Once"}, model="both"),
    "reasoning": chunk({"reasoning_content": "Hm"}, model="both"),
    "a tool call": chunk({"tool_calls": [TOOL]}, model="both"),
    "a refusal": chunk({"refusal": "No"}, model="both"),
    "audio": chunk({"audio": {"data": "aGk="}}, model="both"),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
async def test_the_first_content_and_all_before_it_pass_at_once_and_unchanged(proxy, upstream, good, content):
    role = chunk({"role": "assistant", "content": ""}, model="both")
    upstream.says(b": queued\n\n", role, content, pause(0.05), cut())

    answer = await proxy.chat("both", "hi", stream=True)

    assert answer.body.startswith(b": queued\n\n" + role + content)
    assert answer.error["code"] == "upstream_cut_off"
    assert good.requests == []


# --- The end of a response ---------------------------------------------------------------


def of_choice(**choice):
    return b"data: " + json.dumps({"id": "x", "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


@pytest.mark.parametrize("word", ["", "unheard_of", None])
@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
async def test_an_empty_or_unknown_finish_reason_finishes_nothing(make, upstream, word, mask):
    proxy = await make(modules=[MASKING] if mask else [])
    upstream.says(of_choice(delta={"content": "Once"}, finish_reason=word), close=True)

    answer = await proxy.chat("up/m", "hi", stream=True)

    assert (answer.text, answer.error["code"], answer.done) == ("Once", "upstream_cut_off", False)


async def test_a_call_whose_chunks_have_an_empty_finish_reason_is_whole(proxy, upstream):
    first = {**TOOL, "function": {"name": "f", "arguments": '{"a":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    upstream.says(
        of_choice(delta={"tool_calls": [first]}, finish_reason=""),
        of_choice(delta={"tool_calls": [rest]}, finish_reason=""),
        of_choice(delta={}, finish_reason="tool_calls"),
        DONE,
    )

    answer = await gemini(proxy)

    call = answer.json["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert (call["name"], call["args"]) == ("f", {"a": 1})


AFTER = {
    "nothing, and the connection closes": [cut()],
    "another event": [chunk({"content": "and more"}), DONE],
    "an error": [b'data: {"error":{"message":"engine dead"}}\n\n'],
    "text that is no event": [b"garbage"],
    "silence": [stall()],
}


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_after_the_end_marker_nothing_follows(make, upstream, after, mask):
    proxy = await make({"timeouts": {"idle_s": 20}}, modules=[MASKING] if mask else [])
    in_one_read = DONE + after[0] if isinstance(after[0], bytes) else DONE
    for end in ([DONE, *after], [DONE, pause(0.05), *after], [in_one_read, *after]):
        upstream.queue.clear()
        upstream.says(ONCE, chunk({}, finish="stop"), *end)

        answer = await proxy.chat("up/m", "hi", stream=True)

        assert (answer.text, answer.error, answer.done) == ("Once", None, True)
        assert answer.body.endswith(DONE) and answer.body.count(DONE) == 1
        assert (await record_of(proxy, answer)).outcome == "completed"


async def record_of(proxy, answer):
    """The record of this request, which may be made a moment after its response."""
    while (record := proxy.process.recent.get(answer.headers["x-request-id"])) is None:
        await asyncio.sleep(0.01)
    return record


async def test_the_connection_of_a_finished_stream_is_used_again(proxy, upstream):
    upstream.streams("Once")
    for _ in range(3):
        await proxy.chat("up/m", "hi", stream=True)

    assert upstream.connections == 1


# --- Labels and forms --------------------------------------------------------------------

GOOD_STREAM = b"".join([ROLE, ONCE, chunk({}, finish="stop"), DONE])


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b": hi\n\n", b"\n\n", b"event: message\n"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json", None])
async def test_a_stream_is_recognised_by_its_first_bytes(proxy, upstream, kind, begin):
    head_ = b"HTTP/1.1 200 OK\r\n" + (f"content-type: {kind}\r\n".encode() if kind else b"")
    body = begin + GOOD_STREAM
    upstream.sends(
        head_ + b"transfer-encoding: chunked\r\n\r\n",
        *(framed(body[i : i + 1]) for i in range(9)),
        framed(body[9:]),
        framed(b""),
    )

    streamed, plain = await proxy.chat("up/m", "hi", stream=True), await proxy.chat("up/m", "hi")

    assert (streamed.text, streamed.done, streamed.error) == ("Once", True, None)
    assert (plain.status, plain.text) == (200, "Once")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_json_that_is_labelled_as_a_stream_is_read(proxy, upstream, stream):
    upstream.responds(headers={"content-type": "text/event-stream"})

    answer = await proxy.chat("up/m", "hi", stream=stream)

    assert (answer.status, answer.text) == (200, "hello")


async def gemini(proxy, **fields):
    """Ask for ``up/m`` as a Gemini client does."""
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
    return await proxy.post("/models/up/m:generateContent", body)


THOUGHTFUL = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "th"}]},
    {"type": "text", "text": "answer"},
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_content_in_parts_is_read(proxy, upstream, stream):
    if stream:
        upstream.says(*(of_choice(delta={"content": [part]}) for part in THOUGHTFUL), chunk({}, finish="stop"), DONE)
    else:
        upstream.responds(
            json_body={"choices": [{"index": 0, "message": {"content": THOUGHTFUL}, "finish_reason": "stop"}]}
        )

    answer = await gemini(proxy, generationConfig={"thinkingConfig": {"includeThoughts": True}})

    parts = answer.json["candidates"][0]["content"]["parts"]
    assert [(part["text"], part.get("thought", False)) for part in parts] == [("th", True), ("answer", False)]


USAGES = {
    "reasoning on top": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "total_tokens": 410,
                "completion_tokens_details": {"reasoning_tokens": 300},
            }
        },
        (100, 310, 0),
    ),
    "reasoning on top, no total": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 300},
            }
        },
        (100, 310, 0),
    ),
    "reasoning within": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 310,
                "total_tokens": 410,
                "completion_tokens_details": {"reasoning_tokens": 300},
            }
        },
        (100, 310, 0),
    ),
    "in a choice": (
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {},
                    "message": {"content": "x"},
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
                }
            ]
        },
        (10, 5, 0),
    ),
    "top level": ({"prompt_tokens": 10, "completion_tokens": 5}, (10, 5, 0)),
    "floats": ({"usage": {"prompt_tokens": 10.0, "completion_tokens": 5.0}}, (10, 5, 0)),
    "texts": ({"usage": {"prompt_tokens": "10", "completion_tokens": "5"}}, (10, 5, 0)),
    "only a total": ({"usage": {"total_tokens": 15}}, (15, 0, 0)),
    "a total and the prompt": ({"usage": {"prompt_tokens": 10, "total_tokens": 15}}, (10, 5, 0)),
    "another vendor's cache": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "cache_read_input_tokens": 80,
                "cache_creation_input_tokens": 5,
            }
        },
        (100, 5, 80),
    ),
    "cached on top": ({"usage": {"input_tokens": 15, "output_tokens": 5, "cache_read_input_tokens": 80}}, (95, 5, 80)),
    "beyond 64 bits": ({"usage": {"prompt_tokens": 9223372036854775808, "completion_tokens": 5}}, (10**12, 5, 0)),
}


@pytest.mark.parametrize("mask", [False, True], ids=["relayed", "masked"])
@pytest.mark.parametrize(("fields", "counts"), USAGES.values(), ids=USAGES)
async def test_usage_in_any_form_is_counted(make, upstream, fields, counts, mask):
    proxy = await make(modules=[MASKING] if mask else [])
    whole = {"id": "x", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}], **fields}
    last = json.dumps({"id": "x", "choices": [], **fields}).encode()
    upstream.responds(json_body=whole)
    upstream.says(ONCE, chunk({}, finish="stop"), b"data: " + last + b"\n\n", DONE)

    for stream in (False, True):
        answer = await proxy.chat("up/m", "hi", stream=stream)

        used = (await record_of(proxy, answer)).usage
        assert answer.status == 200
        assert (used.prompt, used.completion, used.cached) == counts


async def test_a_usage_of_0_does_not_replace_the_one_before(proxy, upstream):
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    upstream.says(
        ONCE, chunk({}, finish="stop", usage={"prompt_tokens": 10, "completion_tokens": 5}), chunk(usage=zero), DONE
    )

    answer = await proxy.chat("up/m", "hi", stream=True)

    used = (await record_of(proxy, answer)).usage
    assert (used.prompt, used.completion) == (10, 5)


@pytest.mark.parametrize("choices", [{}, {"choices": None}, {"choices": []}], ids=["absent", "null", "empty"])
async def test_usage_that_the_client_did_not_ask_for_is_left_out(proxy, upstream, choices):
    event = {"id": "x", **choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    upstream.says(ONCE, chunk({}, finish="stop"), b"data: " + json.dumps(event).encode() + b"\n\n", DONE)

    answer = await proxy.chat("up/m", "hi", stream=True)

    assert b"usage" not in answer.body
    assert (await record_of(proxy, answer)).usage.prompt == 10


async def test_a_number_that_json_does_not_have_becomes_null(make, upstream):
    proxy = await make(modules=[MASKING])
    choice = b'"index":0,"message":{"content":"hi"},"finish_reason":"stop"'
    body = b'{"choices":[{%s,"logprobs":{"content":[{"token":"hi","logprob":-Infinity}]}}]}' % choice
    upstream.responds(body=body)

    answer = await proxy.chat("up/m", "hi")

    assert answer.status == 200
    assert answer.json["choices"][0]["logprobs"]["content"][0]["logprob"] is None


@pytest.mark.parametrize("encoding", ["base64", "float", None])
async def test_nested_embeddings_pass_unchanged(proxy, upstream, encoding):
    body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [[0.5, 1.0], [0.25, 2.0]]}]}
    upstream.responds(json_body=body)

    answer = await proxy.post(
        "/embeddings", {"model": "up/m", "input": "hi", **({"encoding_format": encoding} if encoding else {})}
    )

    assert (answer.status, answer.json) == (200, body)


async def test_comments_without_data_are_silence(make, upstream):
    proxy = await make({"timeouts": {"idle_s": 0.5}, "routing": {"max_attempts": 1}})
    for first in ([], [ONCE]):
        upstream.queue.clear()
        upstream.says(*first, *[step for _ in range(40) for step in (b": still here\n\n", pause(0.1))])

        took = -time.monotonic()
        answer = await proxy.chat("up/m", "hi", stream=True)
        took += time.monotonic()

        assert answer.error["code"] == "timeout"
        assert took < 3


async def test_a_provider_that_hangs_delays_the_list_of_models_by_2_s_at_most_and_once(make, upstream, good):
    proxy = await make()
    late, over = b'{"data": [{"id": "late"}]}', asyncio.Event()
    upstream.for_path("/models").says(over, late, headers={"content-type": "application/json"})
    took = []

    async def listed():
        began = time.monotonic()
        names = [model["id"] for model in (await proxy.get("/models")).json["data"]]
        took.append(time.monotonic() - began)
        return names

    for _ in range(2):
        names = await listed()
        assert "good/small" in names and "up/late" not in names
    assert 1.8 < took[0] < 20 and took[1] < 1.8
    over.set()
    async with asyncio.timeout(20):
        while "up/late" not in await listed():  # the query went on meanwhile
            await asyncio.sleep(0.01)


async def test_a_gemini_clients_limit_reaches_a_server_that_knows_only_max_tokens(proxy, upstream):
    await gemini(proxy, generationConfig={"maxOutputTokens": 10})

    assert upstream.last.json["max_tokens"] == 10
    assert "max_completion_tokens" not in upstream.last.json


# --- Paths -------------------------------------------------------------------------------

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}
CONTENTS_ = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
SERVED = {
    "/v1//chat/completions": CHAT,
    "//v1/chat/completions": CHAT,
    "/v1/chat/completions/": CHAT,
    "/v1/v1/chat/completions": CHAT,
    "/v1/v1/v1/chat/completions": CHAT,
    "/v1beta/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "//chat//completions//": CHAT,
    "/v1//embeddings": {"model": "good/m", "input": "hi"},
    "/models/up/m:generateContent": CONTENTS_,
    "/models/good/m:embedContent": {"content": {"parts": [{"text": "hi"}]}},
    "/v1beta//models/up/m:generateContent": CONTENTS_,
    "/v1/v1beta/models/up/m:generateContent": CONTENTS_,
    "/v1beta/v1beta/models/up/m:generateContent": CONTENTS_,
    "/v1//models": None,
    "/v1/models/": None,
    "/v1/v1/models": None,
    "/v1beta/v1/models": None,
    # The clients of some hosts add both, whatever their base URL.
    "/openai/v1/chat/completions": CHAT,
    "/v1/openai/v1/chat/completions": CHAT,
    "/openai/v1/embeddings": {"model": "good/m", "input": "hi"},
    "/openai/v1/models": None,
}


async def test_a_base_url_that_is_slightly_wrong_is_served(proxy, good):
    good.for_path("/embeddings").responds(json_body={"data": [{"index": 0, "embedding": [0.5]}]})
    for path, body in SERVED.items():
        answer = await at(proxy, path, body)

        assert answer.status_code == 200, path


async def at(proxy, path, body, headers=None):
    """A request to this path, exactly as it is."""
    url = httpx.URL(proxy.url.removesuffix("/v1")).copy_with(raw_path=path.encode())
    headers = headers or {"authorization": f"Bearer {proxy.key}"}
    return await proxy.client.request("GET" if body is None else "POST", url, json=body, headers=headers)


WRONG = {
    "/openai/chat/completions": "followed by '/v1'",
    "/v1/chat/completions/chat/completions": "followed by '/v1'",
    "/openai/deployments/m/chat/completions": "followed by '/v1'",
    "/api/embeddings": "followed by '/v1'",
    "/v1beta/openai/models/m:generateContent": "alone",
}


@pytest.mark.parametrize(("path", "told"), WRONG.items())
async def test_a_404_says_what_the_base_url_should_be(proxy, path, told):
    answer = await at(proxy, path, CHAT)

    assert answer.status_code == 404
    assert f"base URL should be this server's address, {told}" in answer.json()["error"]["message"]


async def test_a_key_may_come_in_azures_header(proxy):
    assert (await at(proxy, "/v1/chat/completions", CHAT, {"api-key": proxy.key})).status_code == 200
    assert (await at(proxy, "/v1/chat/completions", CHAT, {"api-key": "another"})).status_code == 401


# --- Compressed requests, and loops -------------------------------------------------------

PACKED = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstandard.compress,
    "identity": bytes,
}


async def packed(proxy, body, encoding, path="/chat/completions"):
    headers = {"authorization": f"Bearer {proxy.key}", "content-encoding": encoding, "content-type": "application/json"}
    return await proxy.client.post(proxy.url + path, content=body, headers=headers)


@pytest.mark.parametrize("encoding", PACKED)
async def test_a_compressed_request_is_read(proxy, upstream, encoding):
    body = PACKED[encoding](json.dumps(CHAT).encode())

    answer = await packed(proxy, body, encoding)

    assert answer.status_code == 200
    assert upstream.last.json["messages"] == CHAT["messages"]
    assert "content-encoding" not in upstream.last.headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_request_has_the_limit_of_any_other(make, upstream, encoding):
    proxy = await make({"server": {"max_body_bytes": 100_000}})
    bomb = PACKED[encoding](b" " * 50_000_000)
    assert len(bomb) < 100_000

    answer = await packed(proxy, bomb, encoding)

    assert answer.status_code == 413
    assert upstream.requests == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_damaged_request_is_the_clients_mistake(proxy, encoding):
    body = PACKED[encoding](json.dumps(CHAT).encode())
    for damaged in (b"garbage" + body, body[:-3]):
        answer = await packed(proxy, damaged, encoding)

        assert answer.status_code == 400
        assert "content-encoding" in answer.json()["error"]["message"]


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "snappy"])
async def test_an_unknown_encoding_of_a_request_is_named(proxy, encoding):
    answer = await packed(proxy, b"x", encoding)

    assert answer.status_code == 415
    assert "gzip, deflate, br, zstd" in answer.json()["error"]["message"]


async def test_a_proxy_that_is_its_own_upstream_ends_the_loop(make, good):
    port = port_that_is_free()
    settings = {"server": {"port": port}, "models": {"loop": ["up/loop"]}}
    proxy = await make(settings, base_url=f"http://127.0.0.1:{port}/v1", api_keys=["test-client-key"])

    answer = await proxy.chat("loop", "hi")

    assert (answer.status, answer.error["code"]) == (508, "proxy_loop")
    assert "base URL leads back here" in answer.error["message"]
    assert len(proxy.process.recent) < 10


async def test_a_request_through_other_proxies_is_served(proxy, upstream):
    answer = await proxy.post("/chat/completions", CHAT, headers={"x-proxy-core-hops": "2"})

    assert answer.status == 200
    assert upstream.last.headers["x-proxy-core-hops"] == "3"


def test_one_large_event_takes_linear_time():
    def took_s(size):
        event = chunk({"content": "see", "images": ["data:image/png;base64," + "A" * size]})
        reads = [event[at : at + 16_384] for at in range(0, len(event), 16_384)]
        context = proxy_core.ResponseContext(id="x", model="small", stream=True, include_usage=False, created=0)
        stream = RelayedStream(OpenAIUsageTap("up", context, True), 16 * 1024 * 1024)
        began = time.process_time()
        assert b"".join(map(stream.feed, reads)) == event
        return time.process_time() - began

    whole, quarter = (min(took_s(size) for _ in range(3)) for size in (12_000_000, 3_000_000))

    assert whole < 8 * quarter + 0.02


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3", "LOCALHOST"])
async def test_a_provider_that_is_this_proxy_itself_is_reported_at_start(make, host):
    proxy = await make({"server": {"port": port_that_is_free()}})
    own = proxy.url.split(":")[2].removesuffix("/v1")
    settings = {"up": {"base_url": f"http://{host}:{own}/v1"}, "other": {"base_url": f"http://{host}:1/v1"}}

    await proxy.reload(providers=settings)

    told = [line for line in proxy.proxy.warnings if "own address" in line]
    assert len(told) == 1 and "provider up:" in told[0]


async def test_a_preset_on_the_proxys_own_port_is_reported_at_start(tmp_path):
    loop = composed({"providers": {"vllm": {}}, "clients": {"c": {"key": "k"}}}, folder=tmp_path)

    assert any("provider vllm: http://127.0.0.1:8000 is this proxy's own address" in line for line in loop.warnings)


def port_that_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- Functions in the old form -------------------------------------------------------------

FUNCTIONS = {"functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}]}
CALL = {"name": "f", "arguments": '{"a":1}'}
IN_STREAM = [{"name": "f", "arguments": ""}, {"arguments": '{"a":'}, {"arguments": "1}"}]
ANSWERS = {
    "old": ("function_call", CALL, [{"function_call": part} for part in IN_STREAM]),
    "new": (
        "tool_calls",
        [{"id": "c1", "type": "function", "function": CALL}],
        [
            {"tool_calls": [{"index": 0, **({"id": "c1"} if n == 0 else {}), "function": part}]}
            for n, part in enumerate(IN_STREAM)
        ],
    ),
}


@pytest.mark.parametrize(("word", "call", "deltas"), ANSWERS.values(), ids=ANSWERS)
async def test_functions_in_the_old_form_are_called_in_the_old_form(make, upstream, word, call, deltas):
    proxy = await make(modules=[MASKING])
    message = {"role": "assistant", "content": None, word: call}
    upstream.responds(json_body={"choices": [{"index": 0, "message": message, "finish_reason": word}]})
    upstream.says(*map(chunk, deltas), chunk({}, finish=word), DONE)

    plain = (await proxy.chat("up/m", "hi", **FUNCTIONS)).json["choices"][0]
    stream = [c for e in (await proxy.chat("up/m", "hi", stream=True, **FUNCTIONS)).events for c in e["choices"]]

    assert (plain["message"]["function_call"], plain["finish_reason"]) == (CALL, "function_call")
    assert "tool_calls" not in plain["message"]
    parts = [c["delta"]["function_call"] for c in stream if "function_call" in c["delta"]]
    assert "".join(part.get("name", "") for part in parts) == "f"
    assert "".join(part.get("arguments", "") for part in parts) == CALL["arguments"]
    assert stream[-1]["finish_reason"] == "function_call"
