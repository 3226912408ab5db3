"""Requests: from OpenAI's clients to Gemini, and from Gemini's clients to the common form."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import (
    BadRequest,
    ChatRequest,
    HostedTool,
    InlineData,
    Link,
    Native,
    Opaque,
    Reasoning,
    ReasoningOptions,
    RequestHead,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from proxy_core.dialects import openai_chat
from proxy_core.dialects.common import parse_body
from proxy_plugin_gemini import dialect as gemini
from proxy_plugin_gemini.dialect.encode import Style, translate

HI = {"role": "user", "content": "hi"}
MODEL = "gemini-2.5-flash"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}


def told(*messages, model=MODEL, style=None, signatures=lambda call_id: None, **fields):
    """The encoded request, and the request from which it was made."""
    body = {"model": model, "messages": list(messages) or [HI], **fields}
    return translate(openai_chat.decode(body), style=style, signatures=signatures)


def contents(*messages, **fields):
    return told(*messages, **fields).body["contents"]


def config(**fields):
    return told(**fields).body.get("generationConfig", {})


def refused(*messages, **fields):
    with pytest.raises(BadRequest) as raised:
        told(*messages, **fields)
    return raised.value


def call(call_id, name="f", arguments="{}", **more):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls(*made, content=None):
    return {"role": "assistant", "content": content, "tool_calls": list(made)}


def result(call_id, content="r", **more):
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def responses(content):
    return [p["functionResponse"] for p in content["parts"] if "functionResponse" in p]


# --- Messages ----------------------------------------------------------------------------


def test_system_and_developer_messages_from_anywhere():
    sent = told(
        {"role": "system", "content": "a"},
        HI,
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "system", "content": " "},
    )

    assert sent.body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert sent.body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]


def test_blank_system_messages_are_none():
    assert "systemInstruction" not in told({"role": "system", "content": ""}, HI).body


def test_only_system_messages_become_the_question():
    sent = told({"role": "system", "content": "a"})

    assert sent.body == {**sent.body, "contents": [{"role": "user", "parts": [{"text": "a"}]}]}
    assert "systemInstruction" not in sent.body


def test_a_request_without_content_is_refused():
    assert refused({"role": "user", "content": ""}).param == "messages"


def test_neighbours_of_one_role_are_one_turn():
    assert contents(
        HI,
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
        HI,
    ) == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "hi"}]},
    ]


def test_an_assistants_refusal_is_text_and_its_reasoning_is_left_out():
    said = {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"}

    assert contents(HI, said, HI)[1] == {"role": "model", "parts": [{"text": "no"}]}


def test_empty_assistants_are_left_out():
    assert contents(HI, {"role": "assistant", "content": ""}, HI) == [{"role": "user", "parts": [{"text": "hi"}] * 2}]


def test_a_history_that_begins_with_the_model():
    assert contents({"role": "assistant", "content": "a"}, HI)[0] == {"role": "user", "parts": [{"text": "."}]}


def test_a_prefill_stays():
    assert contents(HI, {"role": "assistant", "content": "a"})[-1] == {"role": "model", "parts": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("arguments", "args"),
    [('{"a": 1}', {"a": 1}), ("", {}), (" ", {}), ("[1]", {"_raw": "[1]"}), ("{oops", {"_raw": "{oops"})],
)
def test_arguments_are_an_object(arguments, args):
    _, model, _ = contents(HI, calls(call("a", arguments=arguments), content="text"), result("a"))

    assert model["parts"] == [{"text": "text"}, {"functionCall": {"id": "a", "name": "f", "args": args}}]


def test_old_functions():
    sent = told(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
        functions=[TOOL["function"]],
        function_call={"name": "f"},
    ).body

    assert sent["contents"][1]["parts"][0]["functionCall"]["name"] == "f"
    assert responses(sent["contents"][2]) == [{"id": "f", "name": "f", "response": {"output": "r"}}]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}


def test_an_unknown_role():
    assert refused({"role": "robot", "content": "x"}).param == "messages[0].role"


# --- Results -----------------------------------------------------------------------------


def test_results_stand_in_the_order_of_the_calls_before_what_the_user_said():
    _, _, user = contents(HI, calls(call("a"), call("b", "g")), result("b", "2"), result("a", "1"), HI)

    assert [r["id"] for r in responses(user)] == ["a", "b"]
    assert [r["name"] for r in responses(user)] == ["f", "g"]
    assert user["parts"][-1] == {"text": "hi"}


def test_results_are_found_by_name_and_then_by_place():
    _, _, user = contents(
        HI,
        calls(call("a"), call("b", "g"), call("c", "h")),
        result("x", "1", name="g"),
        result("y", "2"),
        result("c", "3"),
    )

    assert [(r["name"], r["response"]["output"]) for r in responses(user)] == [("f", "2"), ("g", "1"), ("h", "3")]


def test_of_two_results_the_last_counts():
    _, _, user = contents(HI, calls(call("a")), result("a", "old"), result("a", "new"))

    assert [r["response"] for r in responses(user)] == [{"output": "new"}]


@pytest.mark.parametrize("after", [(), (HI,)])
def test_a_call_without_a_result_gets_one(after):
    _, _, user = contents(HI, calls(call("a")), *after)

    assert responses(user)[0]["response"] == {"error": "no result was provided"}


def test_a_result_without_a_call_is_text():
    assert contents(HI, result("gone", "r", name="f"))[-1]["parts"][-1] == {"text": "hi"}
    assert contents(HI, result("gone", "r", name="f"))[0]["parts"][0] == {"text": "[result of tool f] r"}


def test_a_user_who_speaks_before_the_result():
    _, _, user, _, _ = contents(HI, calls(call("a")), HI, result("a"), {"role": "assistant", "content": "x"}, HI)

    assert [*user["parts"][0]] == ["functionResponse"]
    assert user["parts"][1] == {"text": "hi"}


@pytest.mark.parametrize(
    ("content", "response"),
    [
        ('{"k": 1}', {"k": 1}),
        ("[1, 2]", {"output": [1, 2]}),
        ("plain", {"output": "plain"}),
        ("007", {"output": "007"}),
        ("{oops", {"output": "{oops"}),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {"output": "a\nb"}),
        ("", {"output": ""}),
    ],
)
def test_the_body_of_a_result(content, response):
    assert responses(contents(HI, calls(call("a")), result("a", content))[-1])[0]["response"] == response


def test_images_in_a_result_by_family():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    messages = (HI, calls(call("a")), result("a", [{"type": "text", "text": "see"}, image]), HI)
    data = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}

    older, newer = contents(*messages)[-1], contents(*messages, model="gemini-3-pro-preview")[-1]

    assert older["parts"][1:] == [data, {"text": "hi"}]
    assert responses(newer)[0]["parts"] == [data]
    assert len(newer["parts"]) == 2


def test_a_backend_without_ids_of_calls():
    _, model, user = contents(HI, calls(call("a")), result("a"), style=Style(call_ids=False))

    assert "id" not in model["parts"][0]["functionCall"]
    assert "id" not in responses(user)[0]


texts = st.text(alphabet="ab", max_size=2)
ids = st.sampled_from(["a", "b", "c"])
messages = st.one_of(
    st.builds(lambda t: {"role": "user", "content": t}, texts),
    st.builds(lambda t: {"role": "system", "content": t}, texts),
    st.builds(lambda t: {"role": "assistant", "content": t}, texts),
    st.builds(
        lambda made, t: calls(*(call(i, n) for i, n in made), content=t),
        st.lists(st.tuples(ids, st.sampled_from("fg")), min_size=1, max_size=3, unique_by=lambda c: c[0]),
        texts,
    ),
    st.builds(lambda i, t: result(i, t), ids, texts),
    st.builds(lambda i, t: result(i, t, name="f"), ids, texts),
)


@given(st.lists(messages, min_size=1, max_size=8), st.sampled_from([MODEL, "gemini-3-pro-preview"]))
def test_whatever_the_history_the_turns_are_as_the_backend_demands(history, model):
    try:
        turns = contents(*history, model=model)
    except BadRequest:
        assert not any(m["content"] or m.get("tool_calls") for m in history if m["role"] != "tool")
        return

    assert turns[0]["role"] == "user"
    assert all(turn["parts"] for turn in turns)
    assert all(a["role"] != b["role"] for a, b in itertools.pairwise(turns))
    before = []
    for turn in [*turns, {"role": "user", "parts": []}]:
        answers = responses(turn)
        assert [(a["id"], a["name"]) for a in answers] == [(c["id"], c["name"]) for c in before]
        assert [*map(bool, answers)] == [("functionResponse" in p) for p in turn["parts"]][: len(answers)]
        before = [p["functionCall"] for p in turn["parts"] if "functionCall" in p]
        signed = [p for p in turn["parts"] if "functionCall" in p and "thoughtSignature" in p]
        assert len(signed) == (1 if before and model != MODEL else 0)


# --- Parts -------------------------------------------------------------------------------


def image(url):
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def audio(style, data="aGk="):
    return {"type": "input_audio", "input_audio": {"data": data, "format": style}}


def inline(kind, data="aGk="):
    return {"inlineData": {"mimeType": kind, "data": data}}


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ({"type": "text", "text": "a"}, {"text": "a"}),
        ({"type": "refusal", "refusal": "no"}, {"text": "no"}),
        (image("data:image/webp;base64,aGk="), inline("image/webp")),
        (image("data:image/webp;charset=utf-8;base64,aGk="), inline("image/webp")),
        (image("data:;base64,aGk="), inline("image/png")),
        (image("data:;base64,/9j/4AAQ"), inline("image/jpeg", "/9j/4AAQ")),
        (image("data:application/octet-stream;base64,UklGRiQA"), inline("image/webp", "UklGRiQA")),
        (image("DATA:image/webp;BASE64,aGk="), inline("image/webp")),
        (image("data:image/png;base64,-_-_"), inline("image/png", "+/+/")),
        (image("data:image/png;base64,aG\nk"), inline("image/png", "aGk=")),
        (image("data:image/png;base64,aGk%3D"), inline("image/png")),
        (image("data:image/svg+xml,%3Csvg%2F%3E"), inline("image/svg+xml", "PHN2Zy8+")),
        (image("gs://bucket/a.jpg"), {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://bucket/a.jpg"}}),
        *(
            (audio(s), inline(f"audio/{t}"))
            for s, t in {"wav": "wav", "mp3": "mp3", "mpeg": "mp3", "flac": "flac"}.items()
        ),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}}, inline("application/pdf")),
        ({"type": "file", "file": {"file_data": "aGk=", "filename": "a.csv"}}, inline("text/csv")),
        ({"type": "file", "file": {"file_data": "aGk=", "filename": "a.PDF"}}, inline("application/pdf")),
        ({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}}, inline("video/mp4")),
        (
            {"type": "video_url", "video_url": {"url": "https://youtu.be/x"}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
        ),
    ],
)
def test_a_part_of_a_message(part, sent):
    assert contents({"role": "user", "content": [{"type": "text", "text": "x"}, part]})[0]["parts"][1:] == [sent]


@pytest.mark.parametrize(
    ("part", "word"),
    [
        (image("https://example.com/a.png"), "data URL"),
        (image("https://youtube.com.evil.example/a"), "data URL"),
        (image("data:image/png;base64,a"), "base64"),
        (image("data:image/png;base64,ä"), "base64"),
        ({"type": "file", "file": {"file_id": "f1"}}, "id"),
        ({"type": "file", "file": {"file_data": "aGk=", "filename": "a.xyz"}}, "a.xyz"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, "data URL"),
        ({"type": "hologram", "hologram": {}}, "hologram"),
    ],
)
def test_a_part_that_is_refused(part, word):
    error = refused({"role": "user", "content": [part]})

    assert error.param == "messages"
    assert word in error.message


# --- Tools -------------------------------------------------------------------------------


def function(name, **more):
    return {"type": "function", "function": {"name": name, **more}}


def test_functions_are_declared_together_and_once():
    sent = told(
        tools=[
            function("f", description="d", strict=True, parameters=TOOL["function"]["parameters"]),
            function("g"),
            function("f"),
        ]
    )

    assert sent.body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "f",
                    "description": "d",
                    "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
                },
                {"name": "g"},
            ]
        }
    ]


def test_the_older_form_of_parameters():
    (tool,) = told(tools=[TOOL], style=Style(schemas="parameters")).body["tools"]

    assert tool["functionDeclarations"][0]["parameters"] == {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}


def test_tools_of_other_vendors_are_reported_as_dropped():
    sent = told(tools=[TOOL, {"type": "web_search"}])

    assert sent.dropped == ("tools[].web_search",)
    assert len(sent.body["tools"]) == 1


def test_a_custom_tool_is_a_function_of_one_text():
    custom = {
        "type": "custom",
        "custom": {
            "name": "sql",
            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}},
        },
    }
    sent = told(
        HI,
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "select"}}],
        },
        result("a"),
        tools=[custom],
    )

    (declared,) = sent.body["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"]["required"] == ["input"]
    assert "start: x" in declared["description"]
    assert sent.body["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": "select"}
    assert sent.names.to_client("sql").kind == "custom"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        *(
            (
                {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [function("f"), function("g")]}},
                {"mode": word, "allowedFunctionNames": ["f", "g"]},
            )
            for mode, word in {"required": "ANY", "auto": "VALIDATED"}.items()
        ),
    ],
)
def test_tool_choice(choice, sent):
    body = told(tools=[TOOL, function("g")], tool_choice=choice).body

    assert body["toolConfig"] == {"functionCallingConfig": sent}


def test_a_choice_without_tools_and_among_others():
    assert "toolConfig" not in told(tool_choice="auto").body
    assert refused(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "gone"}}).param == "tool_choice"
    assert refused(tools=[TOOL], tool_choice={"type": "web_search"}).param == "tool_choice"


def test_names_outside_the_rule_are_changed_everywhere_and_back():
    long = "a" * 80
    names = ["get weather", "get_weather", "get/weather", "1st", long, "ü"]
    sent = told(
        HI,
        calls(*(call(str(i), n) for i, n in enumerate(names))),
        tools=[function(n) for n in names],
        tool_choice={"type": "function", "function": {"name": "1st"}},
    )

    declared = [f["name"] for f in sent.body["tools"][0]["functionDeclarations"]]
    called = [p["functionCall"]["name"] for p in sent.body["contents"][1]["parts"]]
    assert declared == called == [r["name"] for r in responses(sent.body["contents"][2])]
    assert len(set(declared)) == len(names)
    assert declared[1] == "get_weather"
    assert all(len(n) <= 63 and n.isascii() and not n[0].isdigit() for n in declared)
    assert [sent.names.to_client(n).name for n in declared] == names
    assert sent.body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["_1st"]
    assert told(HI, tools=[function(n) for n in names]).body["tools"] == sent.body["tools"]


# --- Signatures --------------------------------------------------------------------------

SIGNED = [
    {"extra_content": {"google": {"thought_signature": "s"}}},
    {"function": {"name": "f", "arguments": "{}", "extra_content": {"google": {"thought_signature": "s"}}}},
    {"thought_signature": "s"},
    {"thoughtSignature": "s"},
    {"provider_specific_fields": {"thought_signature": "s"}},
    {"function": {"name": "f", "arguments": "{}", "provider_specific_fields": {"thought_signature": "s"}}},
]


@pytest.mark.parametrize("carrier", SIGNED)
def test_a_signature_comes_back_on_its_call(carrier):
    _, model, user = contents(HI, calls(call("a", **carrier), call("b")), result("a"), result("b"))

    assert [p.get("thoughtSignature") for p in model["parts"]] == ["s", None]
    assert "thoughtSignature" not in json.dumps(user)


def test_a_lost_signature_is_looked_up_or_else_declared_missing():
    history = (HI, calls(call("a"), call("b")), result("a"), result("b"))

    def signatures(**fields):
        return [p.get("thoughtSignature") for p in contents(*history, **fields)[1]["parts"]]

    assert signatures(signatures={"a": "kept"}.get) == ["kept", None]
    assert signatures(signatures={"a": "kept"}.get, model="gemini-3-pro-preview") == ["kept", None]
    assert signatures(model="gemini-3-pro-preview") == ["skip_thought_signature_validator", None]
    assert signatures() == [None, None]


def test_the_signature_of_a_text():
    said = {"role": "assistant", "content": "a", "extra_content": {"google": {"thought_signature": "s"}}}

    assert contents(HI, said, HI)[1]["parts"] == [{"text": "a", "thoughtSignature": "s"}]
    assert contents(HI, {**said, "content": None}, HI)[1]["parts"] == [{"text": "", "thoughtSignature": "s"}]


# --- Options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 3}, {"temperature": 0.5, "topP": 0.9, "topK": 3}),
        ({"temperature": 3, "top_p": 2}, {"temperature": 2, "topP": 1}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"maxOutputTokens": 7}),
        ({"max_tokens": 10**6}, {"maxOutputTokens": 65536}),
        ({"max_tokens": None}, {}),
        ({"stop": "a"}, {"stopSequences": ["a"]}),
        ({"stop": ["a", " ", "b", "a"]}, {"stopSequences": ["a", "b"]}),
        ({"n": 1}, {}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": 2**31}, {"seed": -(2**31)}),
        ({"presence_penalty": 1, "frequency_penalty": 2}, {"presencePenalty": 1, "frequencyPenalty": 1.99}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "n",
                        "schema": {"type": "object", "properties": {"a": {"const": "x"}}, "$schema": "s"},
                    },
                }
            },
            {
                "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}},
            },
        ),
        ({"modalities": ["text"]}, {}),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
    ],
)
def test_an_option(fields, sent):
    assert config(model="gemini-2.0-flash", **fields) == sent


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": list("abcdef")}, "stop"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
    ],
)
def test_an_option_that_is_refused(fields, param):
    assert refused(**fields).param == param


def test_advisory_fields_are_dropped_and_named():
    fields = {
        **{"logit_bias": {"1": 1}, "user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"},
        **{"prediction": {}, "verbosity": "low", "safety_identifier": "s", "prompt_cache_key": "k"},
        **{"presence_penalty": 1, "frequency_penalty": 1, "logprobs": True},
        **{"parallel_tool_calls": False, "tools": [TOOL]},
    }

    sent = told(**fields)

    assert set(sent.dropped) == fields.keys() - {"tools"}
    assert sent.body.keys() == {"contents", "tools", "generationConfig"}


def test_a_format_beside_tools_by_family():
    fields = {
        "tools": [TOOL],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    }

    older, newer = told(**fields).body, told(**fields, model="gemini-3-flash-preview").body

    assert "responseMimeType" not in older["generationConfig"]
    assert '{"type": "object"}' in older["systemInstruction"]["parts"][0]["text"]
    assert newer["generationConfig"]["responseMimeType"] == "application/json"
    assert "systemInstruction" not in newer


def test_googles_own_extensions():
    google = {
        "thinking_config": {"thinking_budget": 9, "include_thoughts": False},
        "cached_content": "cachedContents/x",
    }
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]

    for fields in (
        {"google": google},
        {"extra_body": {"google": google}},
        {"extra_body": {"extra_body": {"google": google}}},
    ):
        sent = told(**fields, safety_settings=safety, reasoning_effort="high").body
        assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 9, "includeThoughts": False}
        assert sent["cachedContent"] == "cachedContents/x"
        assert sent["safetySettings"] == safety


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FULL, NO_MINIMAL = (
    ("MINIMAL", "MINIMAL", "LOW", "MEDIUM", *["HIGH"] * 3),
    ("LOW", "LOW", "LOW", "MEDIUM", *["HIGH"] * 3),
)


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gemini-2.5-pro", (128, 1024, 1024, 8192, 24576, 32768, 32768)),
        ("gemini-2.5-flash", (0, 1024, 1024, 8192, 24576, 24576, 24576)),
        ("models/gemini-2.5-flash-lite-preview-09-2025", (0, 1024, 1024, 8192, 24576, 24576, 24576)),
        ("gemini-3-pro-preview", ("LOW", "LOW", "LOW", "HIGH", "HIGH", "HIGH", "HIGH")),
        ("gemini-3.1-pro-preview-customtools", NO_MINIMAL),
        *((m, FULL) for m in ("gemini-3-flash-preview", "gemini-3-flash", "gemini-3.5-flash", "gemini-3.6-flash")),
        *((m, FULL) for m in ("gemini-3.1-flash-lite", "gemini-3.5-flash-lite")),
        *((m, NO_MINIMAL) for m in ("gemini-3.7-flash", "gemini-3.8-flash", "gemini-4-ultra")),
        *(
            (m, (None,) * 7)
            for m in ("gemma-4-31b-it", "gemini-2.0-flash", "gemini-2.5-flash-image", "gemini-2.5-flash-preview-tts")
        ),
    ],
)
def test_efforts_by_family(model, sent):
    def thought(effort):
        return config(model=model, reasoning_effort=effort).get("thinkingConfig")

    if sent[0] is None:
        assert [thought(e) for e in EFFORTS] == [*sent]
        return
    field = "thinkingBudget" if isinstance(sent[0], int) else "thinkingLevel"
    assert [thought(e) for e in EFFORTS] == [{"includeThoughts": value != 0, field: value} for value in sent]
    assert config(model=model)["thinkingConfig"] == {"includeThoughts": True}
    assert config(model=model, reasoning={"effort": "low"})["thinkingConfig"][field] == sent[2]


@pytest.mark.parametrize(
    ("model", "options", "sent"),
    [
        ("gemini-2.5-pro", {"budget_tokens": 10}, {"includeThoughts": True, "thinkingBudget": 128}),
        ("gemini-2.5-pro", {"budget_tokens": 0}, {"includeThoughts": True, "thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", {"budget_tokens": 10}, {"includeThoughts": True, "thinkingBudget": 512}),
        ("gemini-2.5-flash", {"budget_tokens": 10**6}, {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-2.5-flash", {"mode": "adaptive"}, {"includeThoughts": True, "thinkingBudget": -1}),
        ("gemini-2.5-flash", {"mode": "off"}, {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-3-flash", {"budget_tokens": 9000}, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-3-flash", {"effort": "low", "include": False}, {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("gemini-3-flash", {"mode": "adaptive"}, {"includeThoughts": True}),
    ],
)
def test_budgets(model, options, sent):
    chat = ChatRequest(
        model=model,
        messages=openai_chat.decode({"model": "m", "messages": [HI]}).messages,
        dialect="openai_chat",
        reasoning=ReasoningOptions(**options),
    )

    assert translate(chat).body["generationConfig"]["thinkingConfig"] == sent


# --- Gemini's clients --------------------------------------------------------------------


def asked(*parts, **fields):
    body = {"model": "m", "contents": [{"role": "user", "parts": [*parts] or [{"text": "hi"}]}], **fields}
    gemini.check(body)
    return gemini.DIALECT.decode(body)


def test_turns_of_a_gemini_client():
    chat = gemini.DIALECT.decode(
        {
            "model": "m",
            "systemInstruction": {"role": "user", "parts": [{"text": "s"}]},
            "contents": [
                {"parts": [{"text": "a"}, {"text": "b"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"functionCall": {"name": "f", "args": {"ü": 1}}, "thoughtSignature": "s"},
                        {"functionCall": {"name": "f"}},
                    ],
                },
                {
                    "role": "function",
                    "parts": [
                        {"functionResponse": {"name": "f", "response": {"output": "1"}}},
                        {"functionResponse": {"name": "f", "response": {"a": 1}}},
                        {"text": "go"},
                    ],
                },
            ],
        }
    )

    system, user, model, tool, more = chat.messages
    assert [m.role for m in chat.messages] == ["system", "user", "assistant", "tool", "user"]
    assert (system.parts[0].text, user.parts[0].text, more.parts[0].text) == ("s", "ab", "go")
    thought, first, second = model.parts
    assert thought == Reasoning(text="hm")
    assert (first.arguments, first.opaque) == ('{"ü":1}', Opaque(maker="google", payload="s"))
    assert first.id != second.id
    assert [(r.call_id, r.parts[0].text) for r in tool.parts] == [(first.id, "1"), (second.id, '{"a":1}')]


def test_snake_case_is_read_everywhere():
    chat = asked(
        {"inline_data": {"mime_type": "image/png", "data": "aGk="}},
        system_instruction="s",
        generation_config={
            "max_output_tokens": 5,
            "stop_sequences": ["x"],
            "thinking_config": {"include_thoughts": True, "thinking_level": "LOW"},
            "response_mime_type": "application/json",
        },
        tools=[
            {
                "function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}],
                "google_search": {},
            }
        ],
        tool_config={"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        safety_settings=[{"category": "x"}],
    )

    assert chat.messages[1].parts[0].source == InlineData(media_type="image/png", data="aGk=")
    assert (chat.sampling.max_tokens, chat.sampling.stop, chat.reasoning.effort) == (5, ("x",), "low")
    assert chat.response_format.kind == "json_object"
    assert chat.tools[0].parameters == {"type": "object"}
    assert chat.tools[1] == HostedTool(dialect="gemini", payload={"google_search": {}})
    assert chat.tool_choice == ToolChoice(mode="required", names=("f",))
    assert chat.extra["safetySettings"] == [{"category": "x"}]


@pytest.mark.parametrize(
    ("thinking", "options"),
    [
        ({"thinkingBudget": 0}, ReasoningOptions(effort="none", budget_tokens=0, include=False)),
        ({"thinkingBudget": -1, "includeThoughts": True}, ReasoningOptions(mode="adaptive", include=True)),
        ({"thinkingBudget": 9000}, ReasoningOptions(effort="medium", budget_tokens=9000, include=False)),
        ({"thinkingLevel": "HIGH"}, ReasoningOptions(effort="high", include=False)),
    ],
)
def test_thinking_of_a_gemini_client(thinking, options):
    assert asked(generationConfig={"thinkingConfig": thinking}).reasoning == options


def test_what_others_cannot_read_is_carried_and_refused_by_them():
    chat = asked(
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
        cachedContent="cachedContents/x",
    )

    sent = translate(chat).body
    assert sent["cachedContent"] == "cachedContents/x"
    assert sent["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
    ]
    for one in (chat, asked(cachedContent="c")):
        with pytest.raises(BadRequest, match=r"cachedContent|fileData"):
            openai_chat.encode(one)


def test_a_cache_of_googles_is_refused_by_its_name():
    encode = pytest.importorskip("proxy_plugin_anthropic.dialect").encode

    with pytest.raises(BadRequest, match="'cachedContent'"):
        encode(asked(cachedContent="cachedContents/x"))


HOSTED = {
    "code": ({"executableCode": {"language": "PYTHON", "code": "1+1"}}, "\n```python\n1+1\n```\n"),
    "code in snake case": ({"executable_code": {"language": "PYTHON", "code": "1+1"}}, "\n```python\n1+1\n```\n"),
    "its output": ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}, "\n```\n2\n```\n"),
    "no output": ({"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, "\n```\n\n```\n"),
    "a call": (
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["q"]}, "id": "1"}},
        '\n[google_search_web: {"queries":["q"]}]\n',
    ),
    "its result": (
        {"toolResponse": {"toolType": "URL_CONTEXT", "response": {"a": 1}, "id": "1"}},
        '\n[url_context: {"a":1}]\n',
    ),
}


@pytest.mark.parametrize(("part", "note"), HOSTED.values(), ids=HOSTED)
def test_what_googles_own_tools_did_is_a_note(part, note):
    said = [{"text": "Look:"}, {**part, "thoughtSignature": "s"}, {"text": "done"}]
    body = {"model": "m", "contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": said}]}
    gemini.check(body)
    chat = gemini.DIALECT.decode(body)

    assert [m["content"] for m in openai_chat.encode(chat)["messages"]] == ["hi", f"Look:{note}done"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": ["x"]}, "contents[0]"),
        ({"contents": [{"parts": "x"}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{"own": 1}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "robot", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": []}, "generationConfig"),
        ({"contents": [{"parts": [{"text": "x"}]}], "tools": {}}, "tools"),
        ({"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"topK": "x"}}, "generationConfig.topK"),
    ],
)
def test_a_gemini_clients_mistake_is_named(body, param):
    with pytest.raises(BadRequest) as raised:
        body = {"model": "m", **body}
        gemini.check(body)
        gemini.DIALECT.decode(body)
    assert raised.value.param == param


def test_the_address_says_model_and_kind():
    def said(method, **query):
        path, parameters = f"/v1beta/models/models/p/m:{method}", {"model": "models/p/m"}
        return gemini.read_request(RequestHead(method="POST", path=path, parameters=parameters, query=query), {})

    assert said("generateContent") == {"model": "p/m", "stream": False, "alt": None}
    assert said("streamGenerateContent", alt="sse") == {"model": "p/m", "stream": True, "alt": None}
    assert said("streamGenerateContent") == {"model": "p/m", "stream": False, "alt": "json"}
    assert gemini.request_body({"contents": [], **said("generateContent")}) == {"contents": []}
    assert [path.rpartition(":")[2] for path in gemini.DIALECT.paths] == [
        "generateContent",
        "streamGenerateContent",
    ] * 3


def test_a_gemini_request_through_the_neutral_values_means_the_same():
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}]},
            {
                "role": "model",
                "parts": [
                    {"text": "a", "thoughtSignature": "t"},
                    {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
                ],
            },
            {"role": "user", "parts": [{"functionResponse": {"id": "1", "name": "f", "response": {"output": "r"}}}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
                ]
            },
            {"googleSearch": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
            "includeServerSideToolInvocations": True,
        },
        "generationConfig": {
            "temperature": 1,
            "topK": 4,
            "mediaResolution": "LOW",
            "responseMimeType": "application/json",
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
        },
        "safetySettings": [{"category": "c", "threshold": "OFF"}],
        "labels": {"a": "b"},
    }

    assert translate(gemini.DIALECT.decode({"model": "gemini-3-flash", **body})).body == body


def test_neutral_values_are_what_was_meant():
    chat = asked({"text": "a"}, {"functionResponse": {"id": "x", "name": "f", "response": {"error": "bad"}}})

    assert chat.messages[0].parts[0] == ToolResult(call_id="x", name="f", parts=[Text(text="bad")], is_error=True)
    assert isinstance(asked({"fileData": {"fileUri": "gs://a"}}).messages[0].parts[0], Native)
    link = asked({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}}).messages[0].parts[0]
    assert link.source == Link(url="https://example.com/a.png")
    assert isinstance(
        gemini.DIALECT.decode(
            {"model": "m", "contents": [{"role": "model", "parts": [{"functionCall": {"name": "f"}}]}]}
        )
        .messages[0]
        .parts[0],
        ToolCall,
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1E+999", "9" * 400 + ".0"])
def test_numbers_that_json_has_no_word_for_are_not_sent(number):
    odd = f'{{"a": {number}}}'

    sent = contents(HI, calls(call("a", arguments=odd)), result("a", odd))

    assert json.loads(json.dumps(sent, allow_nan=False))[1]["parts"][0]["functionCall"]["args"] == {"_raw": odd}
    with pytest.raises(BadRequest):
        parse_body(odd.encode())


# --- Models without a system instruction -------------------------------------------------

GEMMA = "gemma-4-31b-it"


def test_gemma_receives_the_system_message_as_a_users():
    body = told({"role": "system", "content": "Be brief."}, HI, model=GEMMA).body

    assert "systemInstruction" not in body
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Be brief."}, *contents(HI)[0]["parts"]]}]


def test_what_is_added_to_the_system_message_reaches_gemma_too():
    tool = {"type": "function", "function": {"name": "f"}}
    said = {"role": "assistant", "content": "a"}
    body = told(said, HI, model=GEMMA, tools=[tool], response_format={"type": "json_object"}).body

    assert "systemInstruction" not in body
    assert "answer only with JSON" in body["contents"][0]["parts"][0]["text"]
