"""Requests for Anthropic: each row of the mapping, and that the API takes whatever comes out."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy_core import (
    BadRequest,
    ChatRequest,
    CustomTool,
    FunctionTool,
    HostedTool,
    Message,
    Native,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    seal,
    unseal,
)
from proxy_core.dialects.openai_chat import decode
from proxy_plugin_anthropic.dialect.common import REDACTED
from proxy_plugin_anthropic.dialect.decode import decode as own_decode
from proxy_plugin_anthropic.dialect.encode import translate
from proxy_plugin_anthropic.dialect.families import family_of
from proxy_plugin_anthropic.dialect.thoughts import as_details
from proxy_plugin_anthropic.testing import MODELS, check

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
CACHED = {"type": "ephemeral"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
MODEL, OLDER = "claude-sonnet-4-6", "claude-haiku-4-5"


def user(content="hi"):
    return {"role": "user", "content": content}


def use(*ids, name="weather", arguments='{"city":"Oslo"}', **more):
    calls = [{"id": i, "type": "function", "function": {"name": name, "arguments": arguments}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(call_id, content="sun"):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def encoded(chat, signed=frozenset()):
    out = translate(chat)
    check(json.loads(json.dumps(out.body)), MODELS[chat.model], set(signed))
    return out


def sent(*messages, signed=frozenset(), **fields):
    body = {"model": MODEL, "messages": list(messages) or [user()], **fields}
    return encoded(decode(body), signed)


# --- Messages ----------------------------------------------------------------------------


def test_leading_system_messages_are_blocks_and_later_ones_keep_their_place():
    body = sent(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b", "cache_control": CACHED}]},
        {"role": "system", "content": " "},
        user("one"),
        {"role": "system", "content": "c"},
        user("two"),
    ).body

    assert body["system"] == [{"type": "text", "text": "a"}, {"cache_control": CACHED, "type": "text", "text": "b"}]
    texts = [block["text"] for block in body["messages"][0]["content"]]
    assert texts == ["one", "<system-reminder>\nc\n</system-reminder>", "two"]


def test_a_conversation_begins_with_the_user_and_does_not_end_with_a_space():
    body = sent({"role": "assistant", "content": "Hello"}, user(), {"role": "assistant", "content": "So: "}).body

    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "assistant"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "."}]
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "So:"}]


def test_texts_that_say_nothing_are_left_out():
    body = sent(
        user([{"type": "text", "text": ""}, {"type": "text", "text": "x"}]), {"role": "assistant", "content": ""}
    ).body

    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    with pytest.raises(BadRequest) as error:
        sent(user(""))
    assert error.value.param == "messages"


def test_parallel_calls_are_answered_in_one_message_before_the_users_own_words():
    body = sent(user(), use("c1", "c2"), result("c2", "b"), result("c1", "a"), user("and?"), tools=[WEATHER]).body

    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use", "tool_use"]
    assert body["messages"][1]["content"][0] == {
        "type": "tool_use",
        "id": "c1",
        "name": "weather",
        "input": {"city": "Oslo"},
    }
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "a"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "b"},
        {"type": "text", "text": "and?"},
    ]


def test_calls_without_a_result_and_results_without_a_call_are_repaired():
    body = sent(user(), use("c1", "c2"), result("c1"), result("x", "lost"), use("c3"), tools=[WEATHER]).body
    first, second = body["messages"][2]["content"], body["messages"][4]["content"]

    assert first[1] == {
        "type": "tool_result",
        "tool_use_id": "c2",
        "content": "No result was provided.",
        "is_error": True,
    }
    assert [block.get("text") for block in first[2:]] == ["[result of tool x]", "lost"]
    assert [block["tool_use_id"] for block in second] == ["c3"]


def test_ids_fit_and_are_unique():
    body = sent(
        user(),
        use("call:1", "call_1"),
        result("call:1"),
        result("call_1"),
        use("call_1"),
        result("call_1"),
        tools=[WEATHER],
    ).body
    ids = [b["id"] for m in body["messages"] for b in m["content"] if b["type"] == "tool_use"]

    assert len(set(ids)) == 3
    assert ids[1:] == ["call_1", "call_1_2"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("", {}),
        (" ", {}),
        ('{"a":"ü"}', {"a": "ü"}),
        *((odd, {"_raw": odd}) for odd in ("[1]", '"x"', "7", "{", "{} {}", '1,"x":2', "NaN", '{"a":NaN}')),
    ],
)
def test_arguments_become_an_object(arguments, wanted):
    body = sent(user(), use("c", arguments=arguments), result("c"), tools=[WEATHER]).body

    assert body["messages"][1]["content"][0]["input"] == wanted


def test_results_keep_media_and_say_that_they_are_errors():
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body = sent(user(), use("c"), result("c", [{"type": "text", "text": "see"}, image]), tools=[WEATHER]).body
    failed = ChatRequest(
        model=MODEL,
        dialect="gemini",
        messages=[
            Message(role="user", parts=[Text(text="hi")]),
            Message(role="assistant", parts=[ToolCall(id="c", name="f", arguments="{}")]),
            Message(role="tool", parts=[ToolResult(call_id="c", parts=[], is_error=True)]),
        ],
    )

    assert [block["type"] for block in body["messages"][2]["content"][0]["content"]] == ["text", "image"]
    assert encoded(failed).body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c", "is_error": True}
    ]


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (f"data:image/png;base64,{PNG}", {"type": "base64", "media_type": "image/png", "data": PNG}),
        (f"data:image/jpg;base64,{PNG}", {"type": "base64", "media_type": "image/jpeg", "data": PNG}),
        (f"data:;base64,{PNG.rstrip('=')}", {"type": "base64", "media_type": "image/png", "data": PNG}),
        ("https://x.example/a.png", {"type": "url", "url": "https://x.example/a.png"}),
    ],
)
def test_images(url, source):
    body = sent(user([{"type": "image_url", "image_url": {"url": url}, "cache_control": CACHED}])).body

    assert body["messages"][0]["content"] == [{"cache_control": CACHED, "type": "image", "source": source}]


def test_documents():
    pdf, text = base64.b64encode(b"%PDF-1.7").decode(), base64.b64encode("grün".encode()).decode()
    body = sent(
        user(
            [
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{pdf}", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": f"data:text/plain;base64,{text}"}},
            ]
        )
    ).body
    first, second = body["messages"][0]["content"]

    assert first == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": pdf},
        "title": "a.pdf",
    }
    assert second["source"] == {"type": "text", "media_type": "text/plain", "data": "grün"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,*"}},
        {"type": "image_url", "image_url": {"url": "http://x.example/a.png"}},
        {"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}},
    ],
    ids=lambda part: json.dumps(part)[9:60],
)
def test_content_that_the_api_does_not_have_is_refused(part):
    with pytest.raises(BadRequest) as error:
        sent(user([part]))
    assert error.value.param == "messages"


def test_marks_for_the_cache_are_carried():
    body = sent(
        {"role": "system", "content": "a", "cache_control": CACHED},
        {**user("b"), "cache_control": CACHED},
        use("c"),
        {**result("c"), "cache_control": CACHED},
        tools=[{**WEATHER, "cache_control": CACHED}],
    ).body

    assert [body["system"][-1]["cache_control"], body["tools"][0]["cache_control"]] == [CACHED, CACHED]
    assert [message["content"][-1].get("cache_control") for message in body["messages"]] == [CACHED, None, CACHED]


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("kind", ["compaction", "future_item"])
def test_content_that_only_another_format_has_is_refused_by_name(role, kind):
    """It may stand for the whole conversation before it."""
    future = Native(dialect="openai_responses", payload={"type": kind, "encrypted_content": "XX"})
    messages = [Message(role="user", parts=[Text(text="hi")]), Message(role=role, parts=[future, Text(text="so")])]

    with pytest.raises(BadRequest, match=kind):
        translate(ChatRequest(model=MODEL, dialect="openai_responses", messages=messages))


# --- Thoughts ----------------------------------------------------------------------------

SIGNED = {("Hm", "sig"), ("", "red")}


def test_signed_thoughts_return_to_their_maker_and_foreign_ones_do_not():
    own, redacted = Opaque(maker="anthropic", payload="sig"), Opaque(maker="anthropic", payload=REDACTED + "red")
    through_a_seal = unseal(seal(redacted, "openai"), "openai")
    parts = [
        Reasoning(text="Hm", opaque=own),
        Reasoning(opaque=through_a_seal),
        Reasoning(text="other", opaque=Opaque(maker="google", payload="x")),
        Reasoning(text="unsigned"),
        ToolCall(id="c", name="f", arguments=""),
    ]
    chat = ChatRequest(
        model=MODEL,
        dialect="openai_responses",
        messages=[Message(role="user", parts=[Text(text="hi")]), Message(role="assistant", parts=parts)],
    )
    body = encoded(chat, SIGNED).body

    assert body["messages"][1]["content"][:-1] == [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "red"},
    ]


def test_openais_clients_return_thoughts_in_reasoning_details():
    details = [
        as_details("Hm", Opaque(maker="anthropic", payload="sig"), 0),
        as_details("", Opaque(maker="anthropic", payload=REDACTED + "red"), 1),
        {"type": "reasoning.text", "text": "x", "signature": "y", "format": "other"},
        "odd",
    ]
    body = sent(
        user(),
        use("c", reasoning_content="Hm", reasoning_details=details),
        result("c"),
        signed=SIGNED,
        tools=[WEATHER],
        model=OLDER,
        reasoning_effort="low",
    ).body

    assert [block["type"] for block in body["messages"][1]["content"]] == ["thinking", "redacted_thinking", "tool_use"]
    assert body["thinking"]["type"] == "enabled"


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        (OLDER, "minimal", {"type": "enabled", "budget_tokens": 1024}, None),
        (OLDER, "low", {"type": "enabled", "budget_tokens": 4096}, None),
        (OLDER, "medium", {"type": "enabled", "budget_tokens": 10240}, None),
        (OLDER, "high", {"type": "enabled", "budget_tokens": 24576}, None),
        (OLDER, "max", {"type": "enabled", "budget_tokens": 32768}, None),
        (OLDER, "none", None, None),
        (MODEL, "minimal", {"type": "adaptive"}, {"effort": "low"}),
        (MODEL, "xhigh", {"type": "adaptive"}, {"effort": "high"}),
        ("claude-opus-4-8", "xhigh", {"type": "adaptive", "display": "summarized"}, {"effort": "xhigh"}),
        ("claude-opus-4-8", "none", None, None),
        ("claude-3-haiku-20240307", "high", None, None),
    ],
)
def test_effort(model, effort, thinking, config):
    out = sent(model=model, reasoning_effort=effort)

    assert (out.body.get("thinking"), out.body.get("output_config")) == (thinking, config)
    assert ("reasoning_effort" in out.dropped) == (thinking is None and effort != "none")


def test_a_budget_stays_below_the_limit_or_there_is_no_thinking():
    small, tiny = (sent(model=OLDER, reasoning_effort="high", max_tokens=n) for n in (4000, 1000))

    assert small.body["thinking"] == {"type": "enabled", "budget_tokens": 3000}
    assert "thinking" not in tiny.body
    assert "reasoning_effort" in tiny.dropped


@pytest.mark.parametrize(
    ("extra", "budget"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, 2000),
        ({"reasoning": {"effort": "low"}}, 4096),
        ({"reasoning": {"max_tokens": 5000}}, 5000),
    ],
)
def test_other_ways_in_which_openais_clients_ask_for_thoughts(extra, budget):
    assert sent(model=OLDER, **extra).body["thinking"]["budget_tokens"] == budget


def test_thinking_gives_way_to_a_forced_call_and_to_lost_thoughts():
    forced = sent(model=OLDER, reasoning_effort="low", tools=[WEATHER], tool_choice="required")
    lost = sent(user(), use("c"), result("c"), model=OLDER, reasoning_effort="low", tools=[WEATHER])
    adaptive = sent(user(), use("c"), result("c"), model=MODEL, reasoning_effort="low", tools=[WEATHER])

    assert "thinking" not in forced.body
    assert "thinking" not in lost.body
    assert "reasoning_effort" in forced.dropped
    assert "reasoning_effort" in lost.dropped
    assert adaptive.body["thinking"] == {"type": "adaptive"}


# --- Tools -------------------------------------------------------------------------------


def test_names_fit_and_come_back():
    long, dotted = "a" * 80, "fs.read file"
    tools = [{"type": "function", "function": {"name": name}} for name in (long, dotted, "fs_read_file")]
    out = sent(tools=tools, tool_choice={"type": "function", "function": {"name": dotted}})
    names = [tool["name"] for tool in out.body["tools"]]

    assert all(len(name) <= 64 for name in names)
    assert [out.names.to_client(name).name for name in names] == [long, dotted, "fs_read_file"]
    assert out.body["tool_choice"] == {"type": "tool", "name": names[1]}


def test_custom_tools_and_namespaces_become_functions():
    grammar = {"syntax": "lark", "definition": "start: x"}
    chat = ChatRequest(
        model=MODEL,
        dialect="openai_responses",
        messages=[
            Message(role="user", parts=[Text(text="hi")]),
            Message(
                role="assistant", parts=[ToolCall(id="c", name="apply_patch", arguments="*** Begin", kind="custom")]
            ),
        ],
        tools=[CustomTool(name="apply_patch", grammar=grammar), FunctionTool(name="spawn", namespace="agents")],
    )
    out = encoded(chat)
    custom, spaced = out.body["tools"]

    assert custom["input_schema"]["required"] == ["input"]
    assert "start: x" in custom["description"]
    assert out.body["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert spaced["name"] == "agents__spawn"
    assert (out.names.to_client("agents__spawn").namespace, out.names.to_client("apply_patch").kind) == (
        "agents",
        "custom",
    )


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object", "properties": {}}),
        ({"type": ["object", "null"]}, {"type": "object", "properties": {}}),
        (
            {"type": "object", "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}, "required": ["a", "b"]}]},
            {"type": "object", "properties": {"b": {}}},
        ),
        (
            {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]},
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
        ),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}},
            {"$defs": {"A": {"type": "object", "properties": {"a": {}}}}, "type": "object", "properties": {"a": {}}},
        ),
    ],
)
def test_parameters_are_the_schema_of_an_object(schema, wanted):
    tool = {"type": "function", "function": {"name": "f", **({"parameters": schema} if schema is not None else {})}}

    assert sent(tools=[tool]).body["tools"][0]["input_schema"] == wanted


@pytest.mark.parametrize(
    ("choice", "parallel", "wanted"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
    ],
)
def test_choices(choice, parallel, wanted):
    fields = {"tool_choice": choice, "parallel_tool_calls": parallel}
    with_tools, without = sent(tools=[WEATHER], **fields).body, None
    if not isinstance(choice, dict):
        without = sent(**fields).body.get("tool_choice")

    assert with_tools.get("tool_choice") == wanted
    assert without is None


def test_allowed_tools_are_the_only_ones_sent():
    other = {"type": "function", "function": {"name": "other"}}
    third = {"type": "function", "function": {"name": "third"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [WEATHER, other]}}
    body = sent(tools=[WEATHER, other, third], tool_choice=allowed).body

    assert [tool["name"] for tool in body["tools"]] == ["weather", "other"]
    assert body["tool_choice"] == {"type": "any"}
    with pytest.raises(BadRequest) as error:
        sent(tools=[other], tool_choice={"type": "function", "function": {"name": "weather"}})
    assert error.value.param == "tool_choice"


def test_hosted_tools_are_dropped_by_name_and_refused_when_forced():
    search = HostedTool(dialect="openai_responses", payload={"type": "web_search"}, optional=True)
    chat = ChatRequest(
        model=MODEL,
        dialect="openai_responses",
        messages=[Message(role="user", parts=[Text(text="hi")])],
        tools=[search],
    )
    out = encoded(chat)

    assert "tools" not in out.body
    assert out.dropped == ("tools[].web_search",)
    with pytest.raises(BadRequest) as error:
        translate(
            ChatRequest(
                model=MODEL,
                dialect="openai_responses",
                messages=chat.messages,
                tools=[search],
                tool_choice=ToolChoice(mode="required", hosted="web_search"),
            )
        )
    assert error.value.param == "tool_choice"


# --- Parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-opus-4-8", 64_000),
        ("claude-sonnet-5", 64_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("claude-sonnet-4-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-3-7-sonnet-20250219", 64_000),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-haiku-20240307", 4_096),
        ("glm-5", 8_192),
    ],
)
def test_the_limit_that_the_api_requires(model, most):
    chat = decode({"model": model, "messages": [user()]})

    assert translate(chat).body["max_tokens"] == most == family_of(model).max_tokens
    assert translate(decode({"model": model, "messages": [user()], "max_tokens": 7})).body["max_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "fields", "wanted", "dropped"),
    [
        (OLDER, {"temperature": 1.5}, {"temperature": 1}, ()),
        (OLDER, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2}, ("top_p",)),
        (OLDER, {"top_p": 0.5, "top_k": 5}, {"top_p": 0.5, "top_k": 5}, ()),
        ("claude-opus-4-8", {"temperature": 0.2}, {}, ("temperature",)),
        ("claude-opus-4-8", {"temperature": 1, "top_p": 1}, {}, ()),
        (OLDER, {"temperature": 0.2, "reasoning_effort": "low"}, {}, ("temperature",)),
        (OLDER, {"top_p": 0.97, "reasoning_effort": "low"}, {"top_p": 0.97}, ()),
        (OLDER, {"stop": ["END", "\n"]}, {"stop_sequences": ["END"]}, ("stop",)),
        (OLDER, {"seed": 1, "presence_penalty": 0, "logit_bias": {"1": 1}}, {}, ("seed", "logit_bias")),
        (OLDER, {"service_tier": "auto"}, {"service_tier": "auto"}, ()),
        (OLDER, {"service_tier": "default"}, {"service_tier": "standard_only"}, ()),
        (OLDER, {"service_tier": "flex"}, {}, ("service_tier",)),
        (OLDER, {"user": "u1"}, {"metadata": {"user_id": "u1"}}, ()),
        (OLDER, {"metadata": {"a": "b"}, "store": True, "verbosity": "low"}, {}, ("verbosity", "metadata", "store")),
        (OLDER, {"prompt_cache_key": "k", "web_search_options": {}}, {}, ("prompt_cache_key", "web_search_options")),
        (OLDER, {"cache_control": CACHED}, {"cache_control": CACHED}, ()),
        (OLDER, {"x_new": 1, "prompt_cache_retention": "24h", "x_none": None}, {}, ("x_new", "prompt_cache_retention")),
    ],
)
def test_parameters(model, fields, wanted, dropped):
    out = sent(model=model, **fields)
    rest = {k: v for k, v in out.body.items() if k not in ("model", "messages", "max_tokens", "thinking")}

    assert (rest, out.dropped) == (wanted, dropped)


def test_an_address_of_a_user_is_not_sent():
    assert "@" not in sent(user="a@b.example").body["metadata"]["user_id"]


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}, {"max_tokens": 0}])
def test_what_would_change_the_response_is_refused(fields):
    with pytest.raises(BadRequest) as error:
        sent(**fields)
    assert error.value.param in fields


def response_format(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}}


def test_formats():
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": ["integer", "null"], "minimum": 0},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/T"}, "maxItems": 3},
        },
        "required": ["age"],
        "$defs": {"T": {"oneOf": [{"type": "string", "pattern": "x"}, {"const": 1}]}},
    }
    exact = sent(**response_format(schema)).body["output_config"]["format"]["schema"]

    assert exact["additionalProperties"] is False
    assert exact["required"] == ["age"]
    assert [branch["type"] for branch in exact["properties"]["age"]["anyOf"]] == ["integer", "null"]
    assert exact["properties"]["age"]["anyOf"][0]["description"] == '{"minimum": 0}'
    assert exact["$defs"]["T"]["anyOf"][1] == {"const": 1}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (MODEL, {"response_format": {"type": "json_object"}}),
        ("claude-3-haiku-20240307", {"response_format": {"type": "json_object"}}),
        ("claude-3-haiku-20240307", response_format({"type": "array", "items": {"type": "string"}})),
        (MODEL, response_format({"type": "object", "additionalProperties": {"type": "string"}})),
        (
            MODEL,
            response_format(
                {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/A"}},
                    "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
                }
            ),
        ),
        (MODEL, response_format({"type": "object", "properties": {"a": {}}})),
    ],
)
def test_formats_that_the_api_does_not_have_become_an_instruction(model, fields):
    body = sent({"role": "system", "content": "s"}, user(), model=model, **fields).body

    assert "format" not in body.get("output_config", {})
    assert body["system"][0]["text"] == "s"
    assert "JSON" in body["system"][1]["text"]


BEFORE_FORMATS = "claude-3-haiku-20240307"


def test_older_models_answer_by_a_tool():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    encoded = sent(user(), model=BEFORE_FORMATS, **response_format(schema))

    assert [(tool["name"], tool["input_schema"]["required"]) for tool in encoded.body["tools"]] == [
        ("json_response", ["a"])
    ]
    choice = {"type": "tool", "name": "json_response", "disable_parallel_tool_use": True}
    assert encoded.body["tool_choice"] == choice
    assert "system" not in encoded.body


def test_with_tools_of_the_client_they_get_an_instruction_and_it_is_told():
    encoded = sent(user(), model=BEFORE_FORMATS, tools=[WEATHER], **response_format({"type": "object"}))

    assert [tool["name"] for tool in encoded.body["tools"]] == ["weather"]
    assert "JSON" in encoded.body["system"][0]["text"]
    assert "response_format" in encoded.dropped


# --- Whatever a client sends -------------------------------------------------------------

texts = st.sampled_from(["", " ", "hi", "ü\u2028", "x" * 70, "a.b", "\n", '{"a":1}', "[]", "{"])
ids = st.sampled_from(["c1", "c2", "c.3", "", "c" * 200])
contents = st.one_of(
    st.none(), texts, st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=3)
)
calls = st.fixed_dictionaries(
    {
        "id": ids,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.sampled_from(["f", "a.b", "g" * 90]), "arguments": texts}),
    }
)
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user"]), "content": contents}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": contents},
        optional={"tool_calls": st.lists(calls, max_size=3), "reasoning_content": texts},
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": ids, "content": contents}),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), texts)
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "type properties required items anyOf oneOf allOf $ref $defs enum const description minimum"
                " additionalProperties minItems a".split()
            ),
            st.one_of(inner, st.sampled_from(["object", "array", "string", "#/$defs/a", "#"])),
            max_size=4,
        ),
    ),
    max_leaves=12,
)
objects = schemas.filter(lambda schema: isinstance(schema, dict))
bodies = st.fixed_dictionaries(
    {"model": st.sampled_from(sorted(MODELS)), "messages": st.lists(messages, min_size=1, max_size=7)},
    optional={
        "tools": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.just("function"),
                    "function": st.fixed_dictionaries(
                        {"name": st.sampled_from(["f", "a.b", "a_b", "g" * 90])}, optional={"parameters": objects}
                    ),
                }
            ),
            max_size=4,
        ),
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "xhigh", "odd"]),
        "temperature": st.floats(-1, 3),
        "top_p": st.floats(-1, 3),
        "max_tokens": st.integers(1, 4000),
        "stop": st.lists(texts, max_size=3),
        "response_format": objects.map(lambda schema: response_format(schema)["response_format"]),
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=bodies)
def test_the_api_takes_every_request_or_the_client_is_told_which_field_is_wrong(body):
    try:
        chat = decode(body)
        out = translate(chat)
    except BadRequest as error:
        assert error.param
        return
    check(json.loads(json.dumps(out.body)), MODELS[chat.model], set())


# --- Its own format ----------------------------------------------------------------------

OWN = {
    "model": MODEL,
    "max_tokens": 5000,
    "system": [{"type": "text", "text": "s", "cache_control": CACHED}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "h", "cache_control": CACHED},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                {
                    "type": "document",
                    "source": {"type": "url", "url": "https://x.example/a.pdf"},
                    "title": "T",
                    "context": "c",
                    "citations": {"enabled": True},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "red"},
                {"type": "text", "text": "x"},
                {"type": "tool_use", "id": "1", "name": "f", "input": {"a": "x"}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "ok", "is_error": True, "cache_control": CACHED},
                {
                    "type": "tool_result",
                    "tool_use_id": "2",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                    ],
                },
                {"type": "text", "text": "go"},
            ],
        },
    ],
    "tools": [
        {
            "name": "f",
            "description": "d",
            "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
            "strict": True,
            "defer_loading": False,
            "cache_control": CACHED,
        },
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "adaptive"},
    "output_config": {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}},
    },
    "context_management": {"edits": []},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "stream": True,
    "service_tier": "standard_only",
    "speed": "fast",
}


def test_what_its_own_decoder_reads_comes_out_the_same():
    assert encoded(own_decode(OWN), SIGNED).body == OWN
