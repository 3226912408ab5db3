"""Responses for clients: events to bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    CapacityExhausted,
    Carried,
    Citation,
    Finish,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    ResponseContext,
    Start,
    TextDelta,
    UpstreamBroken,
    Usage,
    UsageReport,
    seal,
    sse,
)
from proxy_core.dialects.openai_chat import OpenAIChatDecoder
from proxy_core.testing import chunk
from proxy_plugin_openai_responses.dialect import ResponsesDecoder, ResponsesEncoder
from proxy_plugin_openai_responses.dialect.errors import encode_error
from proxy_plugin_openai_responses.dialect.follower import HEARTBEAT, ResponsesFollower

GOOGLE = Opaque(maker="google", payload="g")
OWN = Opaque(maker="openai", payload="own")
USAGE = UsageReport(usage=Usage(prompt=10, completion=5, cached=4, reasoning=1))
TOOLS = [
    {"type": "function", "name": "f", "parameters": {}, "strict": False},
    {"type": "custom", "name": "apply_patch"},
    {
        "type": "namespace",
        "name": "agents",
        "description": "Others.",
        "tools": [{"type": "function", "name": "spawn"}],
    },
    {"type": "tool_search", "execution": "client"},
]
EVENT = TypeAdapter(ResponseStreamEvent)


def context_of(stream=True, **request):
    return ResponseContext(
        id="resp_1",
        model="m",
        stream=stream,
        include_usage=True,
        created=1,
        extra={"request": {"tools": TOOLS, **request}, "stores": True},
    )


def streamed(*events, **request):
    """The events, each as the official client reads it."""
    encoder = ResponsesEncoder(context_of(**request))
    raw = b"".join(encoder.feed([event]) for event in (Start(), *events)) + encoder.close()
    found = [json.loads(event.data) for event in sse.events(raw)]
    assert [event.name for event in sse.events(raw)] == [event["type"] for event in found]
    return found


def whole(*events, **request):
    encoder = ResponsesEncoder(context_of(stream=False, **request))
    assert encoder.feed([Start(), *events]) == b""
    return json.loads(encoder.close())


def named(events):
    return [event["type"].removeprefix("response.") for event in events]


def call(number, call_id, name, *pieces, **fields):
    deltas = [CallDelta(call=number, arguments=piece) for piece in pieces]
    return [CallStart(call=number, id=call_id, name=name, **fields), *deltas, CallEnd(call=number)]


# --- Order -------------------------------------------------------------------------------


def test_the_example_of_the_reference():
    def of_call(index, **fields):
        return chunk({"tool_calls": [{"index": index, **fields}]})

    decoder = OpenAIChatDecoder(True)
    steps = [
        chunk({"reasoning_content": "Hm"}),
        chunk({"content": "Ok"}),
        of_call(0, id="c1", function={"name": "f", "arguments": '{"a":'}),
        of_call(1, id="c2", function={"name": "g", "arguments": "{}"}),
        of_call(0, function={"arguments": "1}"}),
        chunk({}, finish="tool_calls"),
    ]
    events = [event for step in steps for event in decoder.feed(step)]
    out = streamed(*events, *decoder.close(), USAGE)

    assert named(out) == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    assert [event["delta"] for event in out if event["type"].endswith("arguments.delta")] == ['{"a":', "1}", "{}"]
    response = out[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 15,
    }


def test_the_first_events_are_written_at_once():
    encoder = ResponsesEncoder(context_of())

    assert named(json.loads(e.data) for e in sse.events(encoder.feed([Start()]))) == ["created", "in_progress"]
    assert encoder.feed([]) == b""


def test_a_call_under_way_is_written_as_it_comes():
    encoder = ResponsesEncoder(context_of())
    encoder.feed([CallStart(call=0, id="c", name="f")])

    assert b'"delta":"{"' in encoder.feed([CallDelta(call=0, arguments="{")])


def test_an_empty_response_has_no_items():
    assert whole(Finish(reason="stop"))["output"] == []
    assert named(streamed()) == ["created", "in_progress", "completed"]


# --- Tools -------------------------------------------------------------------------------

CALLS = {
    "a function": ({"name": "f"}, '{"a":1}', {"type": "function_call", "name": "f", "arguments": '{"a":1}'}),
    "a function without arguments": ({"name": "f"}, "", {"type": "function_call", "name": "f", "arguments": "{}"}),
    "a custom tool": (
        {"name": "apply_patch", "kind": "custom"},
        "*** Begin",
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"},
    ),
    "a custom tool as a function": (
        {"name": "apply_patch"},
        '{"input":"*** Begin"}',
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"},
    ),
    "a custom tool with something else": (
        {"name": "apply_patch"},
        '{"patch":"x"}',
        {"type": "custom_tool_call", "name": "apply_patch", "input": '{"patch":"x"}'},
    ),
    "a tool of a namespace": (
        {"name": "spawn", "namespace": "agents"},
        "{}",
        {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{}"},
    ),
    "a tool of a namespace by its flat name": (
        {"name": "agents__spawn"},
        "{}",
        {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{}"},
    ),
    "a search": (
        {"name": "tool_search"},
        '{"query":"q"}',
        {"type": "tool_search_call", "execution": "client", "arguments": {"query": "q"}},
    ),
    "what is not JSON": ({"name": "f"}, "{", {"type": "function_call", "name": "f", "arguments": "{"}),
    "a tool that nobody declared": ({"name": "x"}, "{}", {"type": "function_call", "name": "x", "arguments": "{}"}),
}


@pytest.mark.parametrize(("start", "text", "expected"), CALLS.values(), ids=CALLS)
def test_calls_have_the_clients_own_names(start, text, expected):
    events = call(0, "c1", start.pop("name"), *text, **start)
    item = whole(*events)["output"][0]

    assert {**item, "id": ""} == {"id": "", "call_id": "c1", "status": "completed", **expected}
    out = streamed(*events)
    said = "".join(event["delta"] for event in out if event["type"].endswith(".delta"))
    if expected["type"] != "tool_search_call":
        assert said == expected.get("arguments", expected.get("input"))
    assert out[-2]["item"].keys() == item.keys()


def test_tools_that_only_an_upstream_of_this_format_can_read_are_no_error():
    odd = [{"type": "namespace", "name": "n", "tools": [{"type": "new"}]}]
    item = whole(*call(0, "c1", "x", "y", kind="custom", namespace="n"), tools=odd, include={"new": True})["output"][0]

    assert (item["type"], item["namespace"], item["input"]) == ("custom_tool_call", "n", "y")


# --- Reasoning ---------------------------------------------------------------------------


@pytest.mark.parametrize(("opaque", "expected"), [(OWN, "own"), (GOOGLE, seal(GOOGLE, "openai"))])
def test_reasoning_has_what_its_maker_wants_back(opaque, expected):
    events = [ReasoningDelta(text="hm"), ReasoningDelta(text="", opaque=opaque), TextDelta(text="x")]
    asked = {"store": False, "include": ["reasoning.encrypted_content"]}

    reasoning, message = whole(*events, **asked)["output"]
    assert (reasoning["summary"][0]["text"], reasoning["encrypted_content"]) == ("hm", expected)
    assert message["content"][0]["text"] == "x"
    assert "encrypted_content" not in whole(*events, store=False)["output"][0]


def test_redacted_reasoning_is_an_item_without_a_summary():
    events = [ReasoningDelta(text="", opaque=GOOGLE), ReasoningDelta(text="hm")]
    first, second = whole(*events)["output"]

    assert (first["summary"], "encrypted_content" in first) == ([], True)
    assert (second["summary"][0]["text"], "encrypted_content" in second) == ("hm", False)
    assert len(whole(*events, store=False)["output"]) == 1


def test_the_signature_of_a_call_is_in_the_reasoning_before_it():
    reasoning, function = whole(*call(0, "c", "f", opaque=GOOGLE))["output"]

    assert reasoning["encrypted_content"] == seal(GOOGLE, "openai")
    assert function["type"] == "function_call"


# --- Ends --------------------------------------------------------------------------------

ENDS = {
    "stop": ([Finish(reason="stop")], "completed", None),
    "calls": ([Finish(reason="tool_calls")], "completed", None),
    "pause": ([Finish(reason="pause")], "completed", None),
    "length": ([Finish(reason="length")], "incomplete", {"reason": "max_output_tokens"}),
    "filter": ([Finish(reason="content_filter")], "incomplete", {"reason": "content_filter"}),
    "refusal without words": ([Finish(reason="refusal")], "incomplete", {"reason": "content_filter"}),
    "refusal": ([RefusalDelta(text="no"), Finish(reason="refusal")], "completed", None),
    "error": ([Finish(reason="error", detail="OTHER")], "failed", None),
}


@pytest.mark.parametrize(("events", "status", "details"), ENDS.values(), ids=ENDS)
def test_ends(events, status, details):
    response = whole(TextDelta(text="x"), *events)
    last = streamed(TextDelta(text="x"), *events)[-1]

    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert (response["error"] is None) == (status != "failed")
    assert response["output"][0]["status"] == ("incomplete" if status == "incomplete" else "completed")


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls"])
def test_a_call_that_was_cut_off_is_incomplete_as_the_response_is(reason):
    cut = [CallStart(call=1, id="b", name="f"), CallDelta(call=1, arguments='{"a":'), CallEnd(call=1)]
    events = [*call(0, "a", "f"), *cut, Finish(reason=reason)]
    first, second = whole(*events)["output"]
    *_, done, last = streamed(*events)

    assert first["status"] == "completed"
    assert second["status"] == ("completed" if reason == "tool_calls" else "incomplete")
    assert (second["name"], second["arguments"]) == ("f", '{"a":')
    assert done["item"]["status"] == last["response"]["output"][1]["status"] == second["status"]


def test_the_response_repeats_its_request():
    response = whole(instructions="be", temperature=0.5, metadata={"a": "b"}, text={"verbosity": "low"})

    assert (response["instructions"], response["temperature"], response["metadata"]) == ("be", 0.5, {"a": "b"})
    assert response["tools"] == TOOLS
    assert (response["parallel_tool_calls"], response["truncation"], response["store"]) == (True, "disabled", True)
    Response.model_validate(response, strict=False)


# --- What only some formats have ---------------------------------------------------------

CITED = {"type": "url_citation", "url": "https://c.at", "title": "c", "start_index": 0, "end_index": 1}
IN_CHAT = {"type": "url_citation", "url_citation": {k: v for k, v in CITED.items() if k != "type"}}
CITATIONS = {
    "of this format": [Citation(dialect="openai_responses", payload=CITED)],
    "of chat": [Citation(dialect="openai_chat", payload=IN_CHAT)],
    "of another format, too": [
        Citation(dialect="gemini", payload={"x": 1}),
        Citation(dialect="openai_chat", payload=IN_CHAT),
    ],
}


@pytest.mark.parametrize("citations", CITATIONS.values(), ids=CITATIONS)
def test_citations(citations):
    out = streamed(TextDelta(text="cats"), *citations)

    assert out[-1]["response"]["output"][0]["content"][0]["annotations"] == [CITED]
    assert named(out)[5] == "output_text.annotation.added"


def test_items_of_this_format_are_restored():
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    events = [
        Carried(dialect="openai_responses", payload={"item": item}),
        Carried(dialect="openai_responses", payload={"phase": "commentary"}),
        TextDelta(text="x"),
        Carried(dialect="gemini", payload={"part": {}}),
        TextDelta(text="other", choice=1),
    ]
    first, second = whole(*events)["output"]

    assert first == item
    assert (second["phase"], second["content"][0]["text"]) == ("commentary", "x")


def test_log_probabilities():
    one = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}
    events = [TextDelta(text="x"), Carried(dialect="openai_chat", payload={"logprobs": {"content": [one]}})]

    assert whole(*events)["output"][0]["content"][0]["logprobs"] == [one]


# --- Errors, and what continues a stream -------------------------------------------------


def test_a_long_cooldown_is_a_limit_with_the_time_of_its_end(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.5)
    long = json.loads(encode_error(CapacityExhausted("all busy", retry_after_s=299.5), "r").body)["error"]
    short = json.loads(encode_error(CapacityExhausted("all busy", retry_after_s=9), "r").body)["error"]

    assert (long["type"], long["resets_at"], long["resets_in_seconds"]) == ("usage_limit_reached", 1300, 300)
    assert (short["type"], short["code"], "resets_at" in short) == ("requests", "rate_limit_exceeded", False)


def test_an_error_in_a_stream_has_its_id_and_the_next_number():
    encoder, follower = ResponsesEncoder(context_of()), ResponsesFollower()
    for events in ([Start()], [TextDelta(text='sequence_number":99')], [TextDelta(text="b")]):
        follower.add(encoder.feed(events))

    event = json.loads(sse.parse(follower.error(CapacityExhausted("busy", retry_after_s=1.5), "r")).data)

    assert (event["type"], event["sequence_number"], event["response"]["id"]) == ("response.failed", 6, "resp_1")
    assert event["response"]["error"] == {
        "code": "rate_limit_exceeded",
        "message": "busy Please try again in 2s.",
    }
    assert follower.whole is None


def test_an_error_in_a_stream_that_never_began_is_an_event_of_its_own():
    event = sse.parse(ResponsesFollower().error(UpstreamBroken("broken"), "r"))

    assert (event.name, json.loads(event.data)["message"]) == ("error", "broken")


def test_every_fourth_heartbeat_is_an_event():
    encoder, follower = ResponsesEncoder(context_of()), ResponsesFollower()
    begun = encoder.feed([Start()])
    follower.add(begun)
    beats = [follower.heartbeat() for _ in range(8)]

    event = list(sse.split(begun))[1]
    assert b"response.in_progress" in event
    assert beats == [*[HEARTBEAT] * 3, event] * 2
    follower.add(encoder.feed([TextDelta(text="x")]))
    assert [follower.heartbeat() for _ in range(4)][3] == event


def test_the_end_of_a_stream_has_the_whole_response():
    encoder, follower = ResponsesEncoder(context_of()), ResponsesFollower()
    follower.add(encoder.feed([Start(), TextDelta(text="response.completed")]))
    assert follower.whole is None
    follower.add(encoder.close())

    assert json.loads(follower.whole)["output"][0]["content"][0]["text"] == "response.completed"


# --- Anything ----------------------------------------------------------------------------

EVENTS = st.one_of(
    st.builds(TextDelta, text=st.text(max_size=3)),
    st.builds(RefusalDelta, text=st.text(max_size=3)),
    st.builds(ReasoningDelta, text=st.text(max_size=3), opaque=st.sampled_from([None, None, GOOGLE, OWN])),
    st.tuples(st.just("call"), st.sampled_from(["f", "apply_patch", "agents__spawn", "tool_search"])),
    st.tuples(st.just("arguments"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.just(Citation(dialect="openai_chat", payload=IN_CHAT)),
)


def drawn_events(drawn):
    """Calls begin, are continued and end in any order, also while other things are said."""
    events, states = [], []
    for event in drawn:
        match event:
            case ("call", name):
                events.append(CallStart(call=len(states), id=f"c{len(states)}", name=name))
                states.append(True)
            case (("arguments" | "end") as what, number):
                running = [index for index, state in enumerate(states) if state]
                if running:
                    index = running[number % len(running)]
                    events.append(CallDelta(call=index, arguments=str(number)))
                    if what == "end":
                        states[index] = False
                        events.append(CallEnd(call=index))
            case _:
                events.append(event)
    return events


def without_ids(value):
    if isinstance(value, dict):
        return {key: without_ids(inner) for key, inner in value.items() if key not in ("id", "item_id")}
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


def assert_but_for_late_sources(ended, final):
    """A source may come after the message that it supports has ended: that item does not have it, the response has."""
    for before, after in zip(ended, final, strict=True):
        for early, late in zip(before.get("content", ()), after.get("content", ()), strict=True):
            first, every = early.pop("annotations", []), late.pop("annotations", [])
            assert every[: len(first)] == first
        assert before == after


@given(st.lists(EVENTS, max_size=25), st.sampled_from(["stop", "tool_calls", "refusal", "pause", "length", "error"]))
def test_a_stream_follows_every_rule_and_says_what_the_whole_says(drawn, reason):
    events = [*drawn_events(drawn), Finish(reason=reason), USAGE]
    out, response = streamed(*events), whole(*events)

    assert [event["sequence_number"] for event in out] == list(range(len(out)))
    assert without_ids(out[-1]["response"]) == without_ids(response)
    added = [event for event in out if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == list(range(len(response["output"])))
    ended = [event["item"] for event in out if event["type"] == "response.output_item.done"]
    assert_but_for_late_sources(ended, out[-1]["response"]["output"])
    under_way, begun = None, set()
    for event in out[2:-1]:
        if event["type"] == "response.output_item.added":
            assert under_way is None
            under_way = event["item"]["id"]
            begun.add(under_way)
        elif event["type"] == "response.output_text.annotation.added":
            assert event["item_id"] in begun
        elif event["type"] == "response.output_item.done":
            assert event["item"]["id"] == under_way
            under_way = None
        else:
            assert event["item_id"] == under_way
    texts = "".join(event.text for event in events if isinstance(event, TextDelta))
    parts = [part for item in response["output"] for part in item.get("content", ())]
    assert "".join(part["text"] for part in parts if part["type"] == "output_text") == texts
    calls = [item["call_id"] for item in response["output"] if "call_id" in item]
    assert calls == [event.id for event in events if isinstance(event, CallStart)]


@given(st.lists(EVENTS, max_size=25))
def test_the_official_client_understands_every_stream(drawn):
    state = ResponseStreamState(input_tools=[], text_format=omit)
    for event in streamed(*drawn_events(drawn), Finish(reason="stop"), USAGE):
        state.handle_event(EVENT.validate_python(event))


@given(st.lists(EVENTS, max_size=15))
def test_what_is_written_is_read_again(drawn):
    """As a proxy behind this one would."""
    events = drawn_events(drawn)
    encoder = ResponsesEncoder(context_of())
    raw = encoder.feed([Start(), *events]) + encoder.close()
    decoder = ResponsesDecoder(True)
    found = [event for piece in (raw[:7], raw[7:]) for event in decoder.feed(piece)] + list(decoder.close())

    def said(kind, among):
        return "".join(event.text for event in among if isinstance(event, kind))

    for kind in (TextDelta, RefusalDelta):
        assert said(kind, found) == said(kind, events)
    starts = [event for event in events if isinstance(event, CallStart) and event.name != "tool_search"]
    assert [event.id for event in found if isinstance(event, CallStart)] == [event.id for event in starts]
