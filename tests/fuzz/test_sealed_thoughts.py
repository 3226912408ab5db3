"""Thoughts that another maker signed come back from Gemini's clients, and go only to that maker."""

import json

import pytest
from documented import FORMATS
from google.genai import types
from test_sources import encoded

from proxy_core import CallDelta, CallEnd, CallStart, Finish, Opaque, ReasoningDelta, TextDelta
from proxy_plugin_gemini.dialect.common import NO_SIGNATURE
from proxy_plugin_gemini.dialect.sealed import unseal_thought

GEMINI, ANTHROPIC = FORMATS["gemini"][0], FORMATS["anthropic_messages"][0]
RESULT = {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "r"}}}


def thought(text, payload, maker="anthropic"):
    return [
        ReasoningDelta(text=text[:2]),
        ReasoningDelta(text=text[2:]),
        ReasoningDelta(text="", opaque=Opaque(maker=maker, payload=payload)),
    ]


CALL = [CallStart(call=0, id="c1", name="f"), CallDelta(call=0, arguments="{}"), CallEnd(call=0)]
#: What a model says, and the blocks that it must get back.
SAID = {
    "before a call": (
        [*thought("Hm ü", "sig"), *CALL],
        [("thinking", "Hm ü", "sig"), ("tool_use",)],
    ),
    "before a text and a call": (
        [*thought("Hm", "sig"), TextDelta(text="Well."), *CALL],
        [("thinking", "Hm", "sig"), ("text",), ("tool_use",)],
    ),
    "two": (
        [*thought("One", "sig1"), *thought("Two", "sig2"), *CALL],
        [("thinking", "One", "sig1"), ("thinking", "Two", "sig2"), ("tool_use",)],
    ),
    "redacted": (
        [ReasoningDelta(text="", opaque=Opaque(maker="anthropic", payload="redacted_thinking:xyz")), *CALL],
        [("redacted_thinking", "xyz"), ("tool_use",)],
    ),
}


def said_parts(events, *, stream):
    """The parts that a client of Google's keeps: it reads signatures as base64, and writes them in another form."""
    responses = encoded("gemini", [*events, Finish(reason="tool_calls")], stream=stream)
    parts = [part for response in responses for part in response["candidates"][0]["content"]["parts"]]
    return [
        json.loads(types.Part.model_validate(part).model_dump_json(exclude_none=True, by_alias=True)) for part in parts
    ]


def history(parts):
    asked = {"role": "user", "parts": [{"text": "go"}]}
    return {"model": "m", "contents": [asked, {"role": "model", "parts": parts}, {"role": "user", "parts": [RESULT]}]}


#: How clients write a signature that came beside an empty text.
WRITTEN = {
    "an empty text": lambda part: part,
    "no text": lambda part: {name: value for name, value in part.items() if name != "text"},
    "a thought": lambda part: {"thought": True} | {name: value for name, value in part.items() if name != "text"},
    "an empty thought": lambda part: {**part, "thought": True},
}


def written(parts, write):
    return [write(part) if part.get("text") == "" else part for part in parts]


def shown(block):
    return tuple(block[name] for name in ("type", "thinking", "signature", "data") if name in block)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize(("events", "blocks"), SAID.values(), ids=SAID)
def test_anthropic_gets_its_thoughts_back(events, blocks, write, stream):
    body = history(written(said_parts(events, stream=stream), write))
    GEMINI.check(body)

    sent = ANTHROPIC.encode(GEMINI.decode(body))

    assert [shown(block) for block in sent["messages"][1]["content"]] == blocks


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize(("events", "blocks"), SAID.values(), ids=SAID)
def test_google_and_others_do_not_get_them(events, blocks, write):
    body = history(written(said_parts(events, stream=False), write))

    relayed = GEMINI.relayed(body)
    parts = relayed["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == [
        NO_SIGNATURE if body["contents"][1]["parts"][-1].get("thoughtSignature") else None
    ]
    assert "cHJveHkxL" not in json.dumps(relayed)
    assert all(part.get("text") or "functionCall" in part for part in parts)
    for other in ("openai_chat", "openai_responses", "gemini"):
        sent = json.dumps(FORMATS[other][0].encode(GEMINI.decode(body)))
        assert "sig" not in sent.replace(NO_SIGNATURE, "")
        assert "xyz" not in sent


@pytest.mark.parametrize("part", [{}, {"text": ""}, {"thought": True}])
@pytest.mark.parametrize("wanted", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_a_part_that_says_nothing_is_not_sent(part, wanted):
    call = {"functionCall": {"id": "c1", "name": "f", "args": {}}}
    encode = FORMATS[wanted][0].encode

    assert encode(GEMINI.decode(history([part, call]))) == encode(GEMINI.decode(history([call])))


def test_googles_own_signature_by_itself_reaches_google():
    said = [{"text": "a"}, {"thoughtSignature": "c2ln"}]

    sent = FORMATS["gemini"][0].encode(GEMINI.decode(history(said)))

    assert sent["contents"][1]["parts"] == [{"text": "a", "thoughtSignature": "c2ln"}]


def test_a_body_with_signatures_of_googles_only_is_relayed_as_it_is():
    body = history([{"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"}])

    assert GEMINI.relayed(body) is body


@pytest.mark.parametrize("rest", ["", "====", "i5b", "A" * 99, "\ud800", "ü"])
def test_a_damaged_seal_is_no_thought(rest):
    found = unseal_thought("cHJveHkxL" + rest)

    assert found is not None
    assert found.opaque is None or found.opaque.payload == ""
