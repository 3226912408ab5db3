"""Halves of surrogate pairs, which JSON can express and UTF-8 cannot: servers cut texts in the middle of an emoji."""

import json

import pytest
from documented import FORMATS
from test_sources import encoded, found_in

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Citation,
    Finish,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    seal,
    unseal,
)
from proxy_core.testing import chunk
from proxy_plugin_gemini.dialect.sealed import seal_thought, unseal_thought

HALF = "\ud83d"


def call(*, args="{}", **about):
    start = CallStart(call=0, **{"id": "c1", "name": "f", **about})
    return [start, CallDelta(call=0, arguments=args), CallEnd(call=0)]


def thought(text, maker, payload="sig"):
    return [ReasoningDelta(text=text), ReasoningDelta(text="", opaque=Opaque(maker=maker, payload=payload))]


PAGE = {"url": f"https://x.example/{HALF}", "title": HALF, "start_index": 0, "end_index": 2}
MAKERS = ["anthropic", "google", "openai"]
EVENTS = {
    "a text": [TextDelta(text=f"a{HALF}")],
    "a refusal": [RefusalDelta(text=f"a{HALF}")],
    **{f"a thought signed by {maker}": [*thought(f"a{HALF}", maker), *call()] for maker in MAKERS},
    **{f"a signature by {maker}": [*thought("a", maker, HALF), *call()] for maker in MAKERS},
    "the id of a call": call(id=f"c{HALF}"),
    "the name of a call": call(name=f"f{HALF}"),
    "the namespace of a call": call(namespace=f"n{HALF}"),
    "an argument": call(args=f'{{"a":"{HALF}"}}'),
    "an escaped argument": call(args='{"a":"\\ud83d"}'),
    "the text of a custom tool": call(kind="custom", args=HALF),
    "a source": [TextDelta(text=f"a{HALF}"), Citation(dialect="openai_chat", payload={"url_citation": PAGE})],
}
SHOWN = {"a text", "an argument", "an escaped argument", "the text of a custom tool"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize(("what", "events"), EVENTS.items(), ids=EVENTS)
def test_clients_of_every_format_get_it(what, events, client, stream):
    got = encoded(client, [*events, Finish(reason="stop")], stream=stream)

    if what in SHOWN:
        said = json.dumps(got).replace("\\\\", "\\")
        assert "\\ud83d" in said


THOUGHT = f"Hm{HALF}"
ARGUMENTS = f'{{"a": "{HALF}"}}'
RESPONSES_ITEMS = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": THOUGHT}],
        "encrypted_content": "e",
    },
    {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": f"a{HALF}"}]},
    {"type": "function_call", "id": "fc_1", "call_id": f"c{HALF}", "name": "f", "arguments": ARGUMENTS},
]
SAID = {
    "openai_chat": {
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": f"a{HALF}",
                    "reasoning_content": THOUGHT,
                    "tool_calls": [
                        {"id": f"c{HALF}", "type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}
                    ],
                },
            }
        ]
    },
    "openai_responses": {"id": "r", "object": "response", "status": "completed", "output": RESPONSES_ITEMS},
    "anthropic_messages": {
        "type": "message",
        "role": "assistant",
        "stop_reason": "tool_use",
        "usage": {},
        "content": [
            {"type": "thinking", "thinking": THOUGHT, "signature": "sig"},
            {"type": "text", "text": f"a{HALF}"},
            {"type": "tool_use", "id": f"c{HALF}", "name": "f", "input": {"a": HALF}},
        ],
    },
    "gemini": {
        "candidates": [
            {
                "finishReason": "STOP",
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": THOUGHT, "thought": True},
                        {"text": f"a{HALF}", "thoughtSignature": "c2ln"},
                        {"functionCall": {"id": f"c{HALF}", "name": "f", "args": {"a": HALF}}},
                    ],
                },
            }
        ]
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("upstream", SAID)
def test_it_passes_from_every_format_to_every_other(upstream, client, stream):
    decoder = FORMATS[upstream][0].decoder(False)
    events = [*decoder.feed(json.dumps(SAID[upstream]).encode()), *decoder.close()]

    got = encoded(client, events, stream=stream)

    assert "".join(piece for name in ("text", "content", "delta") for piece in texts(got, name)).count(f"a{HALF}")


def texts(got, name):
    return [found for found in found_in(got, name) if isinstance(found, str)]


def test_what_is_sealed_comes_back():
    opaque = Opaque(maker="openai", payload=f"sig{HALF}")
    assert unseal(seal(opaque, "anthropic"), "anthropic") == opaque
    back = unseal_thought(seal_thought(THOUGHT, opaque))
    assert (back.text, back.opaque) == (THOUGHT, opaque)


ASKED = [{"role": "user", "content": "hi"}]
CLIENTS = {
    "openai_chat": ("/chat/completions", {"messages": ASKED}),
    "openai_responses": ("/responses", {"input": "hi"}),
    "anthropic_messages": ("/messages", {"messages": ASKED, "max_tokens": 10}),
    "gemini": ("/../v1beta/models/up/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}
ERROR = {"error": {"message": f"No {HALF}", "type": f"t{HALF}", "code": f"c{HALF}", "param": f"p{HALF}", HALF: HALF}}


@pytest.mark.parametrize("status", [400, 401, 404])
@pytest.mark.parametrize("preset", ["openai_compat", "anthropic", "gemini"])
async def test_an_upstreams_error_may_have_it(make_proxy, upstream, preset, status):
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    if preset != "openai_compat":
        provider["preset"] = preset
    proxy = await make_proxy({"providers": {"up": provider}})
    upstream.responds(status, ERROR)

    for path, body in CLIENTS.values():
        answer = await proxy.post(path, {"model": "up/m", **body})
        assert 400 <= answer.status != 500, answer
        assert answer.json["error"]["message"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_error_inside_a_stream_may_have_it(make_proxy, upstream, client):
    proxy = await make_proxy({"providers": {"up": {"base_url": upstream.url, "api_keys": ["key-a"]}}})
    path, body = CLIENTS[client]
    upstream.says(chunk({"content": "a"}), b"data: " + json.dumps(ERROR).encode() + b"\n\n")

    streamed = {"stream": True} if client != "gemini" else {}
    answer = await proxy.post(
        path.replace("generateContent", "streamGenerateContent?alt=sse"), {**body, "model": "up/m", **streamed}
    )

    assert answer.status == 200
    assert b"\\ud83d" in answer.body
