"""Requests towards an upstream of the Responses API: neutral values to JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import (
    Audio,
    BadRequest,
    ChatRequest,
    CustomTool,
    File,
    FunctionTool,
    HostedTool,
    Image,
    InlineData,
    Link,
    Message,
    Native,
    Opaque,
    Reasoning,
    ReasoningOptions,
    Refusal,
    ResponseFormat,
    Sampling,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    UploadedFile,
)
from proxy_core.dialects import openai_chat
from proxy_plugin_openai_responses.dialect import decode
from proxy_plugin_openai_responses.dialect.encode import dropped, encode
from proxy_plugin_openai_responses.testing import check

CHAT = "openai_chat"
WEATHER = FunctionTool(name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})


def said(role, *parts, **more):
    return Message(role=role, parts=[Text(text=p) if isinstance(p, str) else p for p in parts], **more)


def chat(*messages, **more):
    return ChatRequest(model="gpt", dialect=CHAT, messages=messages or [said("user", "hi")], **more)


def body(*messages, readable=(), **more):
    """The body, which the scripted server would accept."""
    encoded = encode(chat(*messages, **more))
    check(encoded, set(readable))
    return encoded


def items(*messages, readable=()):
    return body(*messages, readable=readable)["input"]


def text_item(role, text):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def test_a_plain_chat():
    assert body(said("system", "Be brief."), said("developer", "Now."), said("user", "hi"), stream=True) == {
        "model": "gpt",
        "instructions": "Be brief.\n\nNow.",
        "input": [text_item("user", "hi")],
        "stream": True,
        "store": False,
    }


def test_later_instructions_stay_in_place():
    assert items(said("user", "a"), said("system", "b"), said("user", "c")) == [
        text_item("user", "a"),
        text_item("system", "b"),
        text_item("user", "c"),
    ]


def test_instructions_alone_are_the_input():
    encoded = body(said("system", "a"), said("system", "b"))

    assert (encoded["instructions"], encoded["input"]) == ("a", [text_item("system", "b")])


def test_parts():
    image, data = InlineData(media_type="image/png", data="aGk="), InlineData(media_type="application/pdf", data="aGk=")
    message = said(
        "user",
        "look",
        Image(source=image, detail="low"),
        Image(source=Link(url="https://a.example/b.png")),
        Image(source=UploadedFile(file_id="file-1")),
        Audio(source=InlineData(media_type="audio/mp3", data="aGk="), format="mp3"),
        File(source=data),
        File(source=data, filename="a.pdf", context="Read this."),
        File(source=Link(url="https://a.example/c.pdf")),
        File(source=UploadedFile(file_id="file-2")),
        File(source=InlineData(media_type="text/plain", data="aGk="), title="Notes"),
    )
    (item,) = items(message)

    assert item["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
        {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "auto"},
        {"type": "input_image", "file_id": "file-1", "detail": "auto"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_text", "text": "Read this."},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_file", "file_url": "https://a.example/c.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_text", "text": "Notes"},
        {"type": "input_text", "text": "hi"},
    ]


def test_calls_and_results():
    calls = [
        ToolCall(id="c1", name="weather", arguments='{"city":"Oslo"}'),
        ToolCall(id="c2", name="now", arguments=""),
        ToolCall(id="c3", name="patch", arguments="*** x", kind="custom"),
    ]
    image = Image(source=InlineData(media_type="image/png", data="aGk="))
    results = [
        ToolResult(call_id="c2", parts=[Text(text="noon")]),
        ToolResult(call_id="c1", parts=[Text(text="no such city")], is_error=True),
        ToolResult(call_id="c3", parts=[Text(text="see"), image]),
    ]
    found = items(said("user", "go"), said("assistant", "Well,", *calls), *(said("tool", r) for r in results))

    assert found[1:] == [
        text_item("assistant", "Well,"),
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c3", "name": "patch", "input": "*** x"},
        {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        {"type": "function_call_output", "call_id": "c1", "output": "Error: no such city"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c3",
            "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
            ],
        },
    ]


def test_ids_are_unique_and_short():
    long = "x" * 100

    def turn(call_id, n):
        call = ToolCall(id=call_id, name="f", arguments="{}")
        return [said("assistant", call), said("tool", ToolResult(call_id=call_id, parts=[Text(text=str(n))]))]

    found = items(said("user", "go"), *turn("a", 1), *turn("a", 2), *turn(long, 3), *turn("", 4))[1:]
    calls, outputs = found[::2], found[1::2]

    assert [call["call_id"] for call in calls] == [output["call_id"] for output in outputs]
    assert [output["output"] for output in outputs] == ["1", "2", "3", "4"]
    assert len({call["call_id"] for call in calls}) == 4
    assert calls[0]["call_id"] == "a"


def test_a_history_with_gaps_is_repaired():
    found = items(
        said("user", "go"),
        said("assistant", ToolCall(id="lost", name="f", arguments="{}")),
        said("user", "and?"),
        said("tool", ToolResult(call_id="stray", parts=[Text(text="42")])),
    )

    assert found[1:] == [
        {"type": "function_call", "call_id": "lost", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "lost", "output": "no result was provided"},
        text_item("user", "and?"),
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "[result of tool stray]"},
                {"type": "input_text", "text": "42"},
            ],
        },
    ]


def test_only_reasoning_of_its_own_models_goes_back():
    own, other = Opaque(maker="openai", payload="e1"), Opaque(maker="google", payload="g")
    found = items(
        said("user", "go"),
        said(
            "assistant", Reasoning(text="Hm", opaque=own), Reasoning(text="x", opaque=other), Reasoning(text="y"), "a"
        ),
        said("assistant", Text(text="b", opaque=own), ToolCall(id="c", name="f", arguments="{}", opaque=other)),
        readable=["e1"],
    )

    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "e1"}
    assert found[1:4] == [thought, text_item("assistant", "a"), {**thought, "summary": []}]
    assert [item["type"] for item in found[4:]] == ["message", "function_call", "function_call_output"]


def test_refusals_and_phases():
    found = items(said("user", "go"), said("assistant", Refusal(text="No."), phase="commentary"))

    assert found[1:] == [
        {
            "type": "message",
            "role": "assistant",
            "phase": "commentary",
            "content": [{"type": "refusal", "refusal": "No."}],
        }
    ]


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_content_that_only_another_format_has_is_refused_by_name(role):
    future = Native(dialect="anthropic_messages", payload={"type": "future_block"})

    with pytest.raises(BadRequest, match="future_block"):
        encode(chat(said("user", "go"), said(role, future, "hi")))


def test_tools():
    tools = [
        WEATHER,
        FunctionTool(name="bare", description="d", strict=True),
        FunctionTool(name="odd", parameters={"anyOf": []}),
        CustomTool(name="patch", grammar={"syntax": "lark", "definition": "x"}),
        FunctionTool(name="spawn", namespace="agents"),
        FunctionTool(name="wait", namespace="agents"),
        HostedTool(dialect="anthropic_messages", payload={"type": "web_search_1", "name": "x"}, optional=True),
    ]
    nothing = {"type": "object", "properties": {}}
    encoded = body(tools=tools, parallel_tool_calls=False, tool_choice=ToolChoice(mode="auto"))

    assert encoded["tools"] == [
        {"type": "function", "name": "weather", "strict": False, "parameters": WEATHER.parameters},
        {"type": "function", "name": "bare", "description": "d", "strict": True, "parameters": nothing},
        {"type": "function", "name": "odd", "strict": False, "parameters": {"anyOf": [], **nothing}},
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {
            "type": "namespace",
            "name": "agents",
            "tools": [
                {"type": "function", "name": "spawn", "strict": False, "parameters": nothing},
                {"type": "function", "name": "wait", "strict": False, "parameters": nothing},
            ],
        },
    ]
    assert (encoded["parallel_tool_calls"], encoded["tool_choice"]) == (False, "auto")
    assert dropped(chat(tools=tools)) == ["tools[].web_search_1"]


CHOICES = {
    "none": (ToolChoice(mode="none"), "none"),
    "required": (ToolChoice(mode="required"), "required"),
    "one": (ToolChoice(mode="required", names=["weather"]), {"type": "function", "name": "weather"}),
    "custom": (ToolChoice(mode="required", names=["patch"]), {"type": "custom", "name": "patch"}),
    "some": (
        ToolChoice(mode="auto", names=["weather", "patch"]),
        {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "weather"}, {"type": "custom", "name": "patch"}],
        },
    ),
}


@pytest.mark.parametrize(("choice", "encoded"), CHOICES.values(), ids=CHOICES)
def test_tool_choice(choice, encoded):
    assert body(tools=[WEATHER, CustomTool(name="patch")], tool_choice=choice)["tool_choice"] == encoded


def test_without_tools_there_is_no_choice():
    hosted = HostedTool(dialect="gemini", payload={"googleSearch": {}}, optional=True)
    encoded = body(tools=[hosted], tool_choice=ToolChoice(mode="auto"), parallel_tool_calls=True)

    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(encoded)


OPTIONS = {
    "limit": ({"sampling": Sampling(max_tokens=100, temperature=0.5, top_p=0.9)}, "max_output_tokens", 100),
    "a limit that is too low": ({"sampling": Sampling(max_tokens=1)}, "max_output_tokens", 16),
    "logprobs": ({"sampling": Sampling(logprobs=True, top_logprobs=3)}, "include", ["message.output_text.logprobs"]),
    "json": ({"response_format": ResponseFormat(kind="json_object")}, "text", {"format": {"type": "json_object"}}),
    "text": ({"response_format": ResponseFormat(kind="text"), "verbosity": "low"}, "text", {"verbosity": "low"}),
    "schema": (
        {"response_format": ResponseFormat(kind="json_schema", schema={"type": "object"}, strict=True)},
        "text",
        {"format": {"type": "json_schema", "name": "reply", "schema": {"type": "object"}, "strict": True}},
    ),
    "effort": ({"reasoning": ReasoningOptions(effort="high")}, "reasoning", {"effort": "high"}),
    "effort as in this format": ({"extra": {"reasoning": {"effort": "low"}}}, "reasoning", {"effort": "low"}),
    "budget": (
        {"reasoning": ReasoningOptions(budget_tokens=10_000, mode="on")},
        "reasoning",
        {"effort": "medium", "summary": "auto"},
    ),
    "adaptive": (
        {"reasoning": ReasoningOptions(mode="adaptive", effort="max")},
        "reasoning",
        {"effort": "max", "summary": "auto"},
    ),
    "hidden": (
        {"reasoning": ReasoningOptions(mode="on", include=False, budget_tokens=1024)},
        "reasoning",
        {"effort": "low"},
    ),
    "off": ({"reasoning": ReasoningOptions(mode="off", budget_tokens=0)}, "reasoning", None),
    "encrypted": ({"reasoning": ReasoningOptions(effort="low")}, "include", ["reasoning.encrypted_content"]),
    "not encrypted": ({"reasoning": ReasoningOptions(effort="none")}, "include", None),
    "user": ({"user": "u"}, "user", "u"),
    "metadata": ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
    "store": ({"store": True}, "store", True),
    "tier": ({"service_tier": "flex"}, "service_tier", "flex"),
    "cache": ({"cache_key": "k"}, "prompt_cache_key", "k"),
    "safety": ({"extra": {"safety_identifier": "s"}}, "safety_identifier", "s"),
}


@pytest.mark.parametrize(("more", "name", "value"), OPTIONS.values(), ids=OPTIONS)
def test_options(more, name, value):
    assert body(**more).get(name) == value


def test_a_long_user_becomes_a_hash():
    assert len(body(user="u" * 100)["user"]) == 64


REFUSED = {
    "stop": ({"sampling": Sampling(stop=["END"])}, "stop"),
    "several choices": ({"sampling": Sampling(n=2)}, "n"),
    "audio": ({"modalities": ["text", "audio"]}, "modalities"),
    "a forced tool of another vendor": (
        {
            "tools": [HostedTool(dialect="gemini", payload={"googleSearch": {}}, optional=True)],
            "tool_choice": ToolChoice(mode="required"),
        },
        "tool_choice",
    ),
    "a forced tool": (
        {"tools": [WEATHER], "tool_choice": ToolChoice(mode="required", hosted="googleSearch")},
        "tool_choice",
    ),
}


@pytest.mark.parametrize(("more", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_refused_by_name(more, param):
    with pytest.raises(BadRequest) as refused:
        encode(chat(**more))

    assert refused.value.param == param


@pytest.mark.parametrize(
    "part", [Native(dialect="gemini", payload={"fileData": {}}), Audio(source=Link(url="https://a.example"))]
)
def test_content_that_cannot_be_expressed_is_refused(part):
    with pytest.raises(BadRequest):
        encode(chat(said("user", part)))


def test_nothing_to_respond_to():
    with pytest.raises(BadRequest):
        encode(chat(said("assistant", "")))


def test_advisory_fields_are_named():
    sampling = Sampling(seed=1, presence_penalty=0.5, frequency_penalty=0, logit_bias={"1": 2}, top_k=5)
    extra = {"prediction": {}, "safety_identifier": "s", "reasoning": {"effort": "low"}, "thinking": None}
    found = dropped(chat(said("user", "hi", name="Ann"), sampling=sampling, extra=extra))

    assert found == ["seed", "presence_penalty", "logit_bias", "top_k", "messages[].name", "prediction"]


IDS = st.sampled_from(["a", "b", "", "x" * 70, "ü"])
PARTS = st.one_of(
    st.builds(Text, text=st.sampled_from(["", "hi"])),
    st.builds(ToolCall, id=IDS, name=st.just("f"), arguments=st.sampled_from(["", "{}", "{"])),
    st.builds(ToolCall, id=IDS, name=st.just("g"), arguments=st.just("x"), kind=st.just("custom")),
    st.builds(
        ToolResult, call_id=IDS, parts=st.lists(st.builds(Text, text=st.just("r")), max_size=2), is_error=st.booleans()
    ),
    st.builds(Reasoning, text=st.just("t"), opaque=st.none() | st.just(Opaque(maker="google", payload="p"))),
    st.just(Refusal(text="no")),
)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    parts=st.lists(PARTS, max_size=4),
)


@given(st.lists(MESSAGES, max_size=6))
def test_no_order_of_messages_is_one_that_the_upstream_refuses(messages):
    try:
        encoded = encode(ChatRequest(model="gpt", messages=messages, dialect=CHAT))
    except BadRequest:
        return
    check(json.loads(json.dumps(encoded)), set())


SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["object", "string", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("type properties anyOf items $ref".split()), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from("type properties required anyOf".split()), SCHEMAS, max_size=3))
def test_no_schema_is_one_that_the_upstream_refuses(schema):
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}

    check(encode(openai_chat.decode(asked)), set())


ROUND = {
    "model": "gpt",
    "instructions": "Be brief.",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Weather?"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
            ],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "encrypted_content": "e1",
        },
        {
            "type": "message",
            "role": "assistant",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "Let me look."}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "namespace": "sky", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** x"},
        {"type": "function_call_output", "call_id": "c1", "output": "cold"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [
                {"type": "input_text", "text": "done"},
                {"type": "input_image", "file_id": "f", "detail": "auto"},
            ],
        },
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
    ],
    "tools": [
        {"type": "function", "name": "now", "strict": True, "parameters": {"type": "object", "properties": {}}},
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {
            "type": "namespace",
            "name": "sky",
            "tools": [{"type": "function", "name": "weather", "strict": False, "parameters": None}],
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": {"type": "function", "name": "now"},
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {
        "format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    },
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 50,
    "temperature": 0.5,
    "prompt_cache_key": "k",
    "client_metadata": {"a": "b"},
    "truncation": "auto",
}


def test_encode_after_decode_says_the_same():
    once = decode(ROUND)
    again = decode(json.loads(json.dumps(encode(once))))

    assert again == once
    assert encode(again) == encode(once)


def test_fields_of_a_message_in_another_format_are_not_sent():
    [item] = body(said("user", "hi", extra={"parsed": None, "annotations": []}))["input"]

    assert set(item) == {"type", "role", "content"}
