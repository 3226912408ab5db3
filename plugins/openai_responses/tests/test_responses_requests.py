"""Requests of clients: JSON to neutral values."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import BadRequest, CustomTool, FunctionTool, HostedTool, Image, Opaque, ToolCall, ToolChoice, seal
from proxy_core.dialects import openai_chat
from proxy_plugin_openai_responses.dialect import DIALECT, check, decode
from proxy_plugin_openai_responses.dialect.common import OWN_REASONING
from proxy_plugin_openai_responses.dialect.decode import decode_strictly
from proxy_plugin_openai_responses.dialect.decode_tools import table
from proxy_plugin_openai_responses.dialect.errors import encode_error
from proxy_plugin_openai_responses.dialect.stored import items, resume, value

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits.", "format": GRAMMAR}
SPACE = {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{**FUNCTION, "name": "spawn"}]}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}}
HOSTED = {"type": "web_search", "external_web_access": False}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def body_of(*conversation, **fields):
    return {"model": "m", "input": list(conversation), **fields}


def decoded(*conversation, **fields):
    body = body_of(*conversation, **fields)
    check(body)
    return decode(body)


def sent(*conversation, **fields):
    """What an upstream receives that speaks OpenAI's chat format."""
    return openai_chat.encode(decoded(*conversation, **fields))


def user(content="hi"):
    return {"role": "user", "content": content}


def call(call_id="c1", **fields):
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **fields}


def result(call_id="c1", output="ok"):
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def said(text):
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


# --- Fields ------------------------------------------------------------------------------

FORMAT = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
FIELDS = {
    "max_output_tokens": ({"max_output_tokens": 99}, {"max_completion_tokens": 99}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    "effort": ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    "verbosity": ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    "plain text": ({"text": {"format": {"type": "text"}}}, {}),
    "JSON": ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    "schema": (
        {"text": {"format": FORMAT}},
        {"response_format": {"type": "json_schema", "json_schema": {k: v for k, v in FORMAT.items() if k != "type"}}},
    ),
    "logprobs": (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    "cache": ({"prompt_cache_key": "k", "user": "u"}, {"prompt_cache_key": "k", "user": "u"}),
    "what OpenAI would store": ({"store": True, "truncation": "auto", "client_metadata": {"a": "b"}}, {}),
    "nulls": (dict.fromkeys("tools tool_choice text reasoning include metadata conversation background".split()), {}),
}


@pytest.mark.parametrize(("fields", "expected"), FIELDS.values(), ids=FIELDS)
def test_fields(fields, expected):
    assert sent(user(), **fields) == {"model": "m", "messages": [user()], **expected}


def test_a_text_is_one_message_and_instructions_precede_it():
    assert openai_chat.encode(decode({"model": "m", "input": "hi", "instructions": "be"}))["messages"] == [
        {"role": "system", "content": "be"},
        user(),
    ]


def test_a_client_that_can_return_reasoning_is_shown_it():
    fields = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
    assert decoded(user(), **fields).reasoning.include is True
    assert decoded(user(), reasoning={"effort": "low"}).reasoning.include is None


# --- Tools -------------------------------------------------------------------------------


def test_tools():
    chat = decoded(user(), tools=[FUNCTION, PATCH, SPACE, SEARCH, HOSTED])

    function, patch, spawn, search, hosted = chat.tools
    assert function == FunctionTool(name="f", description="d", parameters={"type": "object"}, strict=False)
    grammar = {"syntax": "lark", "definition": "start: /a/"}
    assert patch == CustomTool(name="apply_patch", description="Edits.", grammar=grammar)
    assert (spawn.name, spawn.namespace, spawn.description) == ("spawn", "agents", "Others.\n\nd")
    assert (search.name, search.description) == ("tool_search", "Finds.")
    assert hosted == HostedTool(dialect="openai_responses", payload=HOSTED, optional=True)


def test_tools_towards_chat():
    out = sent(user(), tools=[FUNCTION, PATCH, SPACE, HOSTED], tool_choice={"type": "function", "name": "spawn"})

    names = [tool["function"]["name"] for tool in out["tools"]]
    assert names == ["f", "apply_patch", "agents__spawn"]
    patch = out["tools"][1]["function"]
    assert patch["parameters"]["required"] == ["input"]
    assert patch["description"] == "Edits.\n\nThe input must follow this lark grammar:\nstart: /a/"
    assert out["tool_choice"] == {"type": "function", "function": {"name": "agents__spawn"}}


def test_tools_of_the_history_follow_those_of_the_request():
    extra = {"type": "additional_tools", "role": "developer", "tools": [{**FUNCTION, "description": "old"}, PATCH]}
    found = {
        "type": "tool_search_output",
        "call_id": "s1",
        "execution": "client",
        "tools": [{**SPACE, "tools": [{**FUNCTION, "name": "late", "defer_loading": True}]}],
    }
    searched = {"type": "tool_search_call", "call_id": "s1", "execution": "client", "arguments": {"query": "q"}}
    chat = decoded(user(), extra, searched, found, tools=[FUNCTION])

    assert [(tool.name, tool.description) for tool in chat.tools] == [
        ("f", "d"),
        ("apply_patch", "Edits."),
        ("late", "Others.\n\nd"),
    ]
    assert chat.messages[1].parts == [ToolCall(id="s1", name="tool_search", arguments='{"query":"q"}')]
    assert chat.messages[2].parts[0].parts[0].text == "These tools are available now: late."


CHOICES = {
    "auto": ("auto", ToolChoice(mode="auto")),
    "a function": ({"type": "function", "name": "f"}, ToolChoice(mode="required", names=("f",))),
    "a custom tool": ({"type": "custom", "name": "p"}, ToolChoice(mode="required", names=("p",))),
    "a hosted tool": ({"type": "web_search"}, ToolChoice(mode="required", hosted="web_search")),
    "some": (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, HOSTED]},
        ToolChoice(mode="auto", names=("f",)),
    ),
    "some, all of them hosted": (
        {"type": "allowed_tools", "mode": "auto", "tools": [HOSTED]},
        ToolChoice(mode="none"),
    ),
}


@pytest.mark.parametrize(("choice", "expected"), CHOICES.values(), ids=CHOICES)
def test_choices(choice, expected):
    tools = [FUNCTION, {"type": "custom", "name": "p"}]
    assert decoded(user(), tools=tools, tool_choice=choice).tool_choice == expected


CLASHING = [
    {**SPACE, "name": "ns", "tools": [{**FUNCTION, "name": "f"}]},
    {**FUNCTION, "name": "ns__f"},
    {**SPACE, "name": "a__b", "tools": [{**FUNCTION, "name": "c"}]},
    {**SPACE, "name": "a", "tools": [{"type": "custom", "name": "b__c"}]},
]


@pytest.mark.parametrize("tools", [CLASHING, CLASHING[::-1]], ids=["in order", "reversed"])
def test_no_tool_disappears_behind_another_of_its_flat_name(tools):
    history = [call("c1", namespace="ns"), call("c2", name="ns__f"), result("c1"), result("c2")]
    body = sent(user(), *history, tools=tools, tool_choice={"type": "function", "name": "f"})
    names = [tool["function"]["name"] for tool in body["tools"]]
    called = [part["function"]["name"] for part in body["messages"][1]["tool_calls"]]
    clients = table(body_of(user(), tools=tools))

    assert len(set(names)) == 4
    assert {(clients[name].namespace, clients[name].name) for name in names} == {
        ("ns", "f"),
        (None, "ns__f"),
        ("a__b", "c"),
        ("a", "b__c"),
    }
    assert [(clients[name].namespace, clients[name].name) for name in called] == [("ns", "f"), (None, "ns__f")]
    assert clients[body["tool_choice"]["function"]["name"]].namespace == "ns"


@pytest.mark.parametrize("choice", [{"type": "web_search"}, "required"])
def test_a_hosted_tool_cannot_be_forced(choice):
    with pytest.raises(BadRequest, match="support forcing") as raised:
        sent(user(), tools=[HOSTED], tool_choice=choice)
    assert raised.value.param == "tool_choice"


def test_a_hosted_tool_is_refused_if_the_settings_say_so():
    with pytest.raises(BadRequest, match="'web_search'"):
        decode_strictly(body_of(user(), tools=[HOSTED]))


# --- Items -------------------------------------------------------------------------------


def test_what_the_model_said_between_two_inputs_is_one_message():
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None}
    chat = decoded(
        {"role": "developer", "content": "be"},
        user(),
        reasoning,
        {**said("on it"), "phase": "commentary"},
        call("c1"),
        call("c2", namespace="agents"),
        result("c2"),
        result("c1"),
        said("done"),
    )

    assert [m.role for m in chat.messages] == ["developer", "user", "assistant", "tool", "tool", "assistant"]
    turn = chat.messages[2]
    assert [type(part).__name__ for part in turn.parts] == ["Reasoning", "Text", "ToolCall", "ToolCall"]
    assert (turn.phase, turn.parts[0].text, turn.parts[3].namespace) == ("commentary", "hm", "agents")
    assert [m.parts[0].call_id for m in chat.messages[3:5]] == ["c1", "c2"]


def test_results_follow_their_calls_wherever_they_are():
    chat = decoded(user(), call("c1"), call("c2"), result("c1"), user("wait"), result("c2"))

    assert [m.role for m in chat.messages] == ["user", "assistant", "tool", "tool", "user"]


def test_a_custom_call_has_text():
    custom = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"}
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"}

    assert decoded(user(), custom, output).messages[1].parts[0].kind == "custom"
    function = sent(user(), custom, output)["messages"][1]["tool_calls"][0]["function"]
    assert function == {"name": "apply_patch", "arguments": '{"input":"*** Begin"}'}


def test_an_image_in_a_result():
    chat = decoded(user(), call(), result(output=[{"type": "input_image", "image_url": PIXEL}]))

    assert isinstance(chat.messages[2].parts[0].parts[0], Image)


def test_reasoning_returns_to_its_maker():
    own = {"type": "reasoning", "summary": [], "encrypted_content": "own"}
    google = seal(Opaque(maker="google", payload="g"), "openai")
    chat = decoded(user(), own, call(), result(), {**own, "encrypted_content": google}, call(), result())

    assert chat.messages[1].parts[0].opaque == Opaque(maker="openai", payload="own")
    assert chat.messages[1].parts[1].opaque is None
    assert chat.messages[3].parts[0].opaque == Opaque(maker="google", payload="g")
    assert chat.messages[3].parts[1].opaque == Opaque(maker="google", payload="g"), "some makers sign calls"


def test_an_upstream_of_this_format_does_not_get_what_others_sealed():
    google = {"type": "reasoning", "summary": [], "encrypted_content": seal(Opaque(maker="google", payload="g"), "x")}
    own = {**google, "encrypted_content": "own"}

    assert DIALECT.relayed(body_of(user(), google, own))["input"] == [user(), own]
    body = body_of(user(), own)
    assert DIALECT.relayed(body) is body


def test_an_upstream_of_this_format_gets_no_reasoning_that_it_cannot_find():
    summary = [{"type": "summary_text", "text": "Hm"}]
    of_the_proxy = {"type": "reasoning", "id": f"{OWN_REASONING}_1", "summary": summary}
    theirs = {**of_the_proxy, "id": "rs_1"}
    readable = {**theirs, "content": [{"type": "reasoning_text", "text": "Hm"}]}
    reference = {"type": "item_reference", "id": of_the_proxy["id"]}
    items = [user(), of_the_proxy, reference, theirs, readable, {**theirs, "encrypted_content": "own"}]

    assert DIALECT.relayed(body_of(*items))["input"] == [items[0], *items[3:]]
    assert DIALECT.relayed(body_of(*items, store=False))["input"] == [items[0], *items[4:]]


def test_calls_of_built_in_tools():
    shell = {"type": "local_shell_call", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}}
    web = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}}
    chat = decoded(user(), web, shell, {"type": "local_shell_call_output", "call_id": "c1", "output": "a"})

    note, called = chat.messages[1].parts
    assert note.text == '[web_search_call: {"action":{"type":"search","query":"q"}}]'
    assert (called.name, json.loads(called.arguments)["command"]) == ("local_shell", ["ls"])


REFUSED = {
    "a result without a call": (
        [user(), result("c9")],
        {},
        "input",
        "No tool call found",
    ),
    "a call without a result": ([user(), call("c9")], {}, "input", "No tool output found for function call c9"),
    "a reference": ([{"type": "item_reference", "id": "x"}], {}, "input[0]", "send the items"),
    "a conversation": ([user()], {"conversation": "c"}, "conversation", "not available"),
    "a prompt": ([user()], {"prompt": {"id": "p"}}, "prompt", "not available"),
    "the background": ([user()], {"background": True}, "background", "waits"),
    "a limit of calls": ([user()], {"max_tool_calls": 3}, "max_tool_calls", "not available"),
    "a role": ([{"role": "robot", "content": "x"}], {}, "input[0].role", "robot"),
    "no content": ([{"role": "user"}], {}, "input[0].content", "Missing"),
    "no text": ([user([{"type": "input_text"}])], {}, "input[0].content[0].text", "string"),
    "an image as in chat": (
        [user([{"type": "input_image", "image_url": {"url": PIXEL}}])],
        {},
        "input[0].content[0].image_url",
        "string",
    ),
    "no call id": ([{"type": "function_call", "name": "f", "arguments": "{}"}], {}, "input[0].call_id", "Missing"),
    "an item that is a text": (["x"], {}, "input[0]", "object"),
    "no messages": ([], {}, "input", "message"),
    "a tool without a name": ([user()], {"tools": [{"type": "function"}]}, "tools[0].name", "Missing"),
    "a format": ([user()], {"text": {"format": {"type": "x"}}}, "text.format.type", "x"),
    "a schema that is missing": ([user()], {"text": {"format": {"type": "json_schema"}}}, "text.format.schema", ""),
    **{f"store is {v!r}": ([user()], {"store": v}, "store", "boolean") for v in ("false", 1, {})},
    **{
        f"{name} is {v}": ([user()], {name: v}, name, "must be")
        for name, values in {
            "max_output_tokens": (0, -1, True),
            "temperature": (99, -0.1, "1"),
            "top_p": (1.5, -1),
            "truncation": ("no", 5),
            "metadata": ("x", ["x"]),
        }.items()
        for v in values
    },
    "metadata that is no text": ([user()], {"metadata": {"a": 1}}, "metadata.a", "a string"),
    "an effort of another type": ([user()], {"reasoning": {"effort": 3}}, "reasoning.effort", "a string"),
    "a namespace without tools": (
        [user()],
        {"tools": [{"type": "namespace", "name": "n"}]},
        "tools[0].tools",
        "Missing",
    ),
    "a grammar that is a number": (
        [user()],
        {"tools": [{"type": "custom", "name": "p", "format": 5}]},
        "tools[0].format",
        "an object",
    ),
    "a strictness that is a text": ([user()], {"tools": [{**FUNCTION, "strict": "x"}]}, "tools[0].strict", "boolean"),
    "a strict schema that is not sure": (
        [user()],
        {"text": {"format": {**FORMAT, "strict": "x"}}},
        "text.format.strict",
        "boolean",
    ),
    "a choice that is not declared": (
        [user()],
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}},
        "tool_choice",
        "'g'",
    ),
    "a choice without tools": ([user()], {"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", "'f'"),
    "an image on the client's disk": (
        [user([{"type": "input_image", "image_url": "file:///etc/passwd"}])],
        {},
        "input[0].content[0].image_url",
        "https://",
    ),
    "both ways to continue": (
        [user()],
        {"conversation": "c", "previous_response_id": "r"},
        "conversation",
        "exclude",
    ),
}


@pytest.mark.parametrize(("conversation", "fields", "param", "words"), REFUSED.values(), ids=REFUSED)
def test_an_error_names_the_field(conversation, fields, param, words):
    with pytest.raises(BadRequest) as raised:
        decoded(*conversation, **fields)
    assert raised.value.param == param
    assert words in raised.value.message


# --- Stored responses --------------------------------------------------------------------


def test_a_response_is_continued_with_all_that_led_to_it():
    response = {"id": "resp_1", "status": "completed", "output": [said("hello"), {"type": "reasoning", "id": "rs"}]}
    name, kept = value({"model": "m", "input": "hi"}, json.dumps(response).encode())
    body = resume(body_of(user("more"), previous_response_id=name, store=True), kept)

    assert name == "resp_1"
    assert body == {**body_of(*items({"input": "hi"}), said("hello"), user("more")), "store": True}


def test_a_reference_to_what_is_there_anyway_is_left_out():
    response = {"id": "resp_1", "status": "completed", "output": [{**said("hello"), "id": "msg_1"}]}
    _, kept = value({"input": "hi"}, json.dumps(response).encode())
    own = [{"type": "item_reference", "id": "msg_1"}, {"type": "item_reference", "id": "other"}]

    assert resume(body_of(*own, previous_response_id="resp_1"), kept)["input"][2:] == own[1:]


UNKEPT = {
    "not wanted": ({"store": False}, {"id": "r", "status": "completed"}),
    "failed": ({}, {"id": "r", "status": "failed"}),
    "without an id": ({}, {"status": "completed"}),
    "with a strange id": ({}, {"id": "a/b", "status": "completed"}),
}


@pytest.mark.parametrize(("body", "response"), UNKEPT.values(), ids=UNKEPT)
def test_what_is_not_kept(body, response):
    assert value(body, json.dumps(response).encode()) is None
    assert value(body, b"no JSON") is None


# --- Anything ----------------------------------------------------------------------------

RIGHT = body_of(
    {"role": "developer", "content": "be"},
    user([{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": PIXEL, "detail": "low"}]),
    user([{"type": "input_file", "file_data": PIXEL, "filename": "a.png"}]),
    {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "e"},
    {**said("x"), "phase": "commentary"},
    call("c1", namespace="agents"),
    {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "x"},
    {"type": "tool_search_call", "call_id": "c3", "execution": "client", "arguments": {"query": "q"}},
    {"type": "local_shell_call", "call_id": "c4", "action": {"command": ["ls"]}},
    {"type": "web_search_call", "action": {"query": "q"}},
    result("c1", [{"type": "input_image", "image_url": PIXEL}]),
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
    {"type": "tool_search_output", "call_id": "c3", "execution": "client", "tools": [SPACE]},
    {"type": "local_shell_call_output", "call_id": "c4", "output": {"a": 1}},
    {"type": "additional_tools", "tools": [PATCH]},
    tools=[FUNCTION, PATCH, SPACE, SEARCH, HOSTED],
    tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
    reasoning={"effort": "low", "summary": "auto"},
    text={"format": FORMAT, "verbosity": "low"},
    include=["reasoning.encrypted_content"],
    metadata={"a": "b"},
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
        DIALECT.relayed(body)
        value(body, b'{"id": "resp_1", "status": "completed"}')
        chat = decode(body)
    except BadRequest as error:
        assert error.param
        json.loads(encode_error(error, "r").body)
        return
    with suppress(BadRequest):
        json.dumps(openai_chat.encode(chat))


ITEMS = st.one_of(
    st.just(user()),
    st.builds(said, st.sampled_from(["", "x"])),
    st.builds(call, st.sampled_from(["c1", "c2"])),
    st.builds(result, st.sampled_from(["c1", "c2"])),
    st.just({"type": "reasoning", "summary": []}),
)


@given(st.lists(ITEMS, min_size=1, max_size=9))
def test_every_order_of_items_is_refused_or_one_that_chat_accepts(conversation):
    try:
        messages = sent(*conversation)["messages"]
    except BadRequest as error:
        assert error.param == "input"
        return
    for at, message in enumerate(messages):
        calls = [one["id"] for one in message.get("tool_calls", ())]
        following = messages[at + 1 : at + 1 + len(calls)]
        assert [one.get("tool_call_id") for one in following] == calls
        assert (message["role"] == "tool") == ("tool_call_id" in message)
    assert sum(m["role"] == "tool" for m in messages) == sum(len(m.get("tool_calls", ())) for m in messages)
