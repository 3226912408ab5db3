"""Requests of Anthropic's clients, and what an upstream that speaks OpenAI's format receives of them."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import BadRequest, Opaque, Reasoning, RequestHead, seal
from proxy_core.dialects import openai_chat
from proxy_plugin_anthropic.dialect import check, decode, read_request
from proxy_plugin_anthropic.dialect.errors import encode_error

PNG = "iVBORw0KGgo="
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
AS_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
CACHED = {"cache_control": {"type": "ephemeral"}}


def body_of(**fields):
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


def sent(**fields):
    """What the upstream receives."""
    body = body_of(**fields)
    check(body)
    return openai_chat.encode(decode(body))


def spoken(*messages, **fields):
    return sent(messages=list(messages), **fields)["messages"]


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(words, **more):
    return {"type": "text", "text": words, **more}


def call(call_id, name="f", **arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id, content="done", **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


# --- Fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 7}, {"temperature": 0.5, "top_p": 0.9, "top_k": 7}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"metadata": {"user_id": "me"}}, {"user": "me"}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 16384}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 16385}}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "max"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "schema": {"type": "object"}},
                }
            },
        ),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"context_management": {"edits": []}, "speed": "fast", "unknown": 1, **CACHED}, {}),
    ],
)
def test_fields(fields, expected):
    out = sent(**fields)

    assert {k: v for k, v in out.items() if k not in ("model", "messages", "max_completion_tokens")} == expected


def test_a_long_user_id_is_shortened_to_the_same_text_each_time():
    long = {"metadata": {"user_id": json.dumps({"device_id": "d" * 64, "session_id": "s"})}}

    assert sent(**long)["user"] == sent(**long)["user"]
    assert len(sent(**long)["user"]) == 64


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices_of_tools(choice, expected):
    tool = {"name": "f", "description": "does", "input_schema": {"type": "object", "properties": {}}, **CACHED}
    out = sent(tools=[tool], tool_choice={**choice, "disable_parallel_tool_use": True})

    assert out["tool_choice"] == expected
    assert out["parallel_tool_calls"] is False
    function = {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {}}}
    assert out["tools"] == [{"type": "function", "function": function}]


def test_a_tool_without_a_schema_gets_that_of_an_object():
    (tool,) = sent(tools=[{"name": "f", "type": "custom"}])["tools"]

    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


# --- Messages ----------------------------------------------------------------------------


def test_the_system_prompt_is_one_text_without_what_differs_in_each_request():
    system = [text("x-anthropic-billing-header: cc_version=2;"), text("You are.", **CACHED), text(" \n"), text("Be.")]

    assert spoken(user(text("hi")), system=system)[0] == {"role": "system", "content": "You are.\n\nBe."}


def test_a_system_message_keeps_its_place():
    messages = [user(text("a")), {"role": "system", "content": "mind"}, assistant(text("b")), user(text("c"))]

    assert [(m["role"], m["content"]) for m in spoken(*messages)] == [
        ("user", "a"),
        ("system", "mind"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_texts_and_images():
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    (message,) = spoken(user(text("look", **CACHED), PICTURE, linked))

    url = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert message["content"] == [{"type": "text", "text": "look"}, AS_URL, url]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            [
                {"type": "text", "text": "of May"},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "Notes"}},
            ],
        ),
        ({"type": "text", "media_type": "text/plain", "data": "plain"}, "Notes\n\nof May\n\nplain"),
        ({"type": "base64", "media_type": "text/plain", "data": "cGxhaW4="}, "Notes\n\nof May\n\nplain"),
        ({"type": "content", "content": "plain"}, "Notes\n\nof May\n\nplain"),
        ({"type": "content", "content": [text("a"), text("b")]}, "Notes\n\nof May\n\na\n\nb"),
    ],
)
def test_documents(source, expected):
    block = {"type": "document", "source": source, "title": "Notes", "context": "of May"}

    assert spoken(user(block))[0]["content"] == expected


def test_search_results_are_texts():
    found = {"type": "search_result", "source": "https://e.com", "title": "E", "content": [text("one"), text("two")]}

    assert spoken(user(found))[0]["content"] == "E\n\nhttps://e.com\n\none\n\ntwo"


def test_parallel_calls_and_their_results_come_before_what_else_the_user_says():
    messages = spoken(
        user(text("go")),
        assistant(text("I will."), call("c1", "f", a=1), call("c2", "g")),
        user(text("and then"), result("c2", "two", **CACHED), result("c1", [text("one"), text("more")], is_error=True)),
    )

    assert messages[1] == {
        "role": "assistant",
        "content": "I will.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "tool", "tool_call_id": "c1", "content": "Error: one\nmore"},
        {"role": "user", "content": "and then"},
    ]


def test_messages_of_one_turn_are_together_whatever_is_between_them():
    messages = spoken(
        user(text("go")),
        assistant(call("c1")),
        assistant(call("c2")),
        {"role": "system", "content": "mind"},
        user(result("c1")),
        user(text("so?"), result("c2")),
    )

    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool", "system", "user"]
    assert len(messages[1]["tool_calls"]) == 2


def test_media_in_results_follow_the_last_of_them():
    messages = spoken(
        user(text("go")),
        assistant(call("c1"), call("c2")),
        user(result("c1", [PICTURE]), result("c2", [text("two"), PICTURE]), text("so?")),
    )

    assert [(m["role"], m["content"]) for m in messages[2:]] == [
        ("tool", "The result follows as media."),
        ("tool", "two"),
        ("user", [AS_URL, AS_URL]),
        ("user", "so?"),
    ]


@pytest.mark.parametrize("content", [None, [], ""])
def test_a_result_may_be_empty(content):
    messages = spoken(user(text("go")), assistant(call("c1")), user(result("c1", content)))

    assert messages[2] == {"role": "tool", "tool_call_id": "c1", "content": ""}


def test_empty_texts_are_left_out():
    assert spoken(user(text(""), text("a")), assistant(text("")), user(text("b"))) == [
        {"role": "user", "content": "a\n\nb"}
    ]


def test_thoughts_keep_their_signatures_for_their_maker():
    foreign = seal(Opaque(maker="google", payload="sig"), "anthropic")
    history = [
        {"type": "thinking", "thinking": "hm", "signature": "own"},
        {"type": "thinking", "thinking": "", "signature": foreign},
        call("c1"),
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    chat = decode(body_of(messages=[user(text("go")), assistant(*history), user(result("c1"))]))
    own, sealed, called, redacted = chat.messages[1].parts

    assert own == Reasoning(text="hm", opaque=Opaque(maker="anthropic", payload="own"))
    assert sealed.opaque == called.opaque == Opaque(maker="google", payload="sig")
    assert redacted.opaque == Opaque(maker="anthropic", payload="redacted_thinking:xyz")


def test_what_anthropics_own_tools_did_becomes_a_note():
    searched = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "cats"}}
    page = {"type": "web_search_result", "title": "Cats", "url": "https://c.at", "encrypted_content": "x" * 99}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [page]}
    messages = spoken(user(text("go")), assistant(searched, found, text("Cats.")))

    assert messages[1]["content"] == '[web_search: {"query":"cats"}][web_search: Cats\nhttps://c.at]Cats.'


# --- The request's head ------------------------------------------------------------------


def test_the_name_for_a_larger_context_is_the_models_plain_name():
    head = RequestHead(method="POST", path="/v1/messages", headers={"anthropic-beta": "a-1,b-2"})
    body = read_request(head, body_of(model="claude-sonnet-5[1m]"))

    assert body["model"] == "claude-sonnet-5"
    assert decode(body).extra == {}


# --- Faults ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages.0.content.0"),
        ({"messages": [user({"text": "a"})]}, "messages.0.content.0.type"),
        ({"messages": [user({"type": "text"})]}, "messages.0.content.0.text"),
        ({"messages": [user({"type": "text", "text": 1})]}, "messages.0.content.0.text"),
        ({"messages": [user(text(""))]}, "messages.0.content"),
        ({"messages": [user({"type": "image", "source": 5})]}, "messages.0.content.0.source"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
        ({"messages": [user({"type": "image"})]}, "messages.0.content.0.source"),
        (
            {"messages": [user({**PICTURE, "source": {**PICTURE["source"], "media_type": "image/tiff"}})]},
            "messages.0.content.0.source.media_type",
        ),
        ({"messages": [user(call("c1"))]}, "messages.0.content"),
        ({"messages": [assistant(result("c1"))]}, "messages.0.content"),
        ({"messages": [user(text("a")), assistant(call("c1"))]}, "messages.1.content"),
        ({"messages": [user(text("a")), assistant(call("c1")), user(text("b"))]}, "messages.1.content"),
        ({"messages": [user(result("c1"))]}, "messages.0.content"),
        ({"messages": [user(text("a")), assistant(call("c1"), call("c1")), user(result("c1"))]}, "messages.1.content"),
        (
            {"messages": [user(text("a")), assistant(call("c1")), user(result("c1"), result("c1"))]},
            "messages.2.content",
        ),
        ({"messages": [user(text("a")), assistant({"type": "tool_use", "id": "c"})]}, "messages.1.content.0.name"),
        (
            {"messages": [user(text("a")), assistant(call("c1")), user(result("c1", [result("c1")]))]},
            "messages.2.content.0.content.0.type",
        ),
        ({"system": [PICTURE]}, "system.0.type"),
        ({"system": 1}, "system"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"thinking": "yes"}, "thinking"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
        ({"output_config": {"format": {}}}, "output_config.format.type"),
        ({"output_config": {"effort": "zzz"}}, "output_config.effort"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "zzz"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"stop_sequences": {}}, "stop_sequences"),
        ({"stop_sequences": 0}, "stop_sequences"),
        ({"tools": [{"name": "f", "strict": 1}]}, "tools.0.strict"),
        (
            {"messages": [user({"type": "document", "source": {"type": "text", "data": 5}})]},
            "messages.0.content.0.source.data",
        ),
        ({"messages": [user(text("a")), assistant(text("b")), user(result("c1"))]}, "messages.2.content"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "tools.0.input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_an_error_names_the_field(fields, param):
    with pytest.raises(BadRequest) as raised:
        sent(**fields)

    assert raised.value.param == param


@pytest.mark.parametrize(
    "block",
    [
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "something_new"},
    ],
)
def test_what_the_upstream_cannot_read_is_refused(block):
    with pytest.raises(BadRequest) as raised:
        sent(messages=[user(block)])

    assert raised.value.param == "messages"


# --- Anything ----------------------------------------------------------------------------

RIGHT = body_of(
    system=[text("be", **CACHED)],
    messages=[
        user(text("a"), PICTURE, {"type": "document", "source": {"type": "text", "data": "x"}, "title": "t"}),
        assistant(
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
            call("c1", a=1),
        ),
        user(result("c1", [text("done"), PICTURE])),
        {"role": "system", "content": "mind"},
    ],
    tools=[{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}],
    tool_choice={"type": "tool", "name": "f"},
    thinking={"type": "enabled", "budget_tokens": 2000},
    output_config={"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    metadata={"user_id": "u"},
    stop_sequences=["x"],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("type text id name".split()), inner),
    max_leaves=5,
)


def replaced(value, steps, new):
    """The value, with what these steps lead to replaced by something else."""
    if not steps or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[steps[0] % len(keys)]
    inner = replaced(value[key], steps[1:], new)
    return {**value, key: inner} if isinstance(value, dict) else [*value[:key], inner, *value[key + 1 :]]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=7), JSON)
def test_anything_is_a_request_or_an_error_that_names_a_field(steps, new):
    body = replaced(RIGHT, steps, new)
    try:
        check(body)
        chat = decode(body)
    except BadRequest as error:
        assert error.param
        json.loads(encode_error(error, "r").body)
        return
    with suppress(BadRequest):
        json.dumps(openai_chat.encode(chat))
