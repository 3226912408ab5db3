"""What a request says arrives in every other format, once."""

import json

import pytest
from documented import FORMATS
from msgspec.structs import replace
from test_sources import encoded, found_in

from proxy_core import Finish, TextDelta

#: Models of each format, as an upstream knows them: those of one family may take what those of another do not.
MODELS = {
    "openai_chat": ["gpt-5"],
    "openai_responses": ["gpt-5"],
    "anthropic_messages": ["claude-opus-4-8", "claude-sonnet-4-5", "claude-3-5-haiku-latest", "other"],
    "gemini": ["gemini-2.5-flash", "gemini-3-pro", "gemma-3-27b-it"],
}
PAIRS = [(client, other, model) for client in FORMATS for other, models in MODELS.items() for model in models]


def translated(client, other, model, body):
    dialect = FORMATS[client][0]
    dialect.check(body)
    return FORMATS[other][0].encode(replace(dialect.decode(body), model=model))


def texts(value):
    """All texts in a request, in order."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for member in inner for text in texts(member)]


def conversation(client, *turns):
    """``(role, text)`` in a client's format; ``first`` is a system prompt in the place that the format has for it."""
    match client:
        case "openai_chat":
            messages = [{"role": "system" if role == "first" else role, "content": text} for role, text in turns]
            return {"model": "m", "messages": messages}
        case "openai_responses":
            items = [{"role": role, "content": text} for role, text in turns if role != "first"]
            return {"model": "m", "instructions": dict(turns).get("first"), "input": items}
        case "anthropic_messages":
            roles = [{"role": role, "content": text} for role, text in turns if role != "first"]
            return {"model": "m", "max_tokens": 9, "system": dict(turns).get("first"), "messages": roles}
        case "gemini":
            roles = {"assistant": "model"}
            contents = [
                {"role": roles.get(role, role), "parts": [{"text": text}]} for role, text in turns if role != "first"
            ]
            first = dict(turns).get("first")
            return {"model": "m", "systemInstruction": {"parts": [{"text": first}]} if first else None} | {
                "contents": contents
            }


#: Where a system message may be, besides at the beginning.
PLACES = {
    "after the user's": [("first", "FIRST"), ("user", "one"), ("system", "LATE")],
    "between two of the user's": [("user", "one"), ("system", "LATE"), ("user", "two")],
    "after an answer": [("user", "one"), ("assistant", "two"), ("system", "LATE"), ("user", "three")],
    "before an answer": [("user", "one"), ("system", "LATE"), ("assistant", "two"), ("user", "three")],
    "at the end, after an answer": [("user", "one"), ("assistant", "two"), ("system", "LATE")],
    "two of them": [("first", "FIRST"), ("user", "one"), ("system", "LATE"), ("system", "LATER"), ("user", "two")],
    "before all others": [("system", "LATE"), ("user", "one")],
    "alone": [("system", "LATE")],
}


@pytest.mark.parametrize("turns", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(("client", "other", "model"), PAIRS)
def test_a_system_message_in_mid_conversation_arrives_once(client, other, model, turns):
    request = translated(client, other, model, conversation(client, *turns))

    found = "\n".join(texts(request))
    for _, text in turns:
        words = found.replace(">", " ").replace("<", " ").split()
        assert words.count(text) == 1, json.dumps(request)
    said = [text for role, text in turns if role in ("user", "assistant")]
    assert sorted(said, key=found.index) == said


@pytest.mark.parametrize("inside", [False, True], ids=["of the user", "in a tool's result"])
@pytest.mark.parametrize(("other", "model"), [(o, m) for c, o, m in PAIRS if c == "anthropic_messages"])
def test_a_documents_title_and_context_arrive(other, model, inside):
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    document = {"type": "document", "title": "Notes", "context": "CONTEXT", "source": source}
    messages = [{"role": "user", "content": [document, {"type": "text", "text": "read"}]}]
    if inside:
        call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": [document]}
        messages = [
            {"role": "user", "content": "read"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]

    request = translated("anthropic_messages", other, model, {"model": "m", "max_tokens": 9, "messages": messages})

    found = json.dumps(request)
    assert found.count("CONTEXT") == 1
    assert found.count("JVBERi0=") == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", FORMATS)
def test_usage_that_nobody_told_is_not_zero(client, stream):
    got = encoded(client, [TextDelta(text="Hello, world"), Finish(reason="stop")], stream=stream)

    usages = [usage for name in ("usage", "usageMetadata") for usage in found_in(got, name) if usage is not None]
    if client == "anthropic_messages":  # which requires numbers
        assert usages[-1]["output_tokens"] == 3
    else:
        assert usages == []
