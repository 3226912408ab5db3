"""Responses for Anthropic's clients: events to a stream and to a message, which say the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    Citation,
    Failed,
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
    sse,
    unseal,
)
from proxy_core.dialects.openai_chat import OpenAIChatDecoder
from proxy_core.testing import chunk
from proxy_plugin_anthropic.dialect import AnthropicDecoder, AnthropicEncoder
from proxy_plugin_anthropic.testing.strict_reader import read_stream as read

GOOGLE = Opaque(maker="google", payload="sig")
OWN = Opaque(maker="anthropic", payload="own")
USAGE = UsageReport(usage=Usage(prompt=10, completion=5, cached=4))


def context(stream=True, **fields):
    return ResponseContext(
        id="msg_1", model="mine", stream=stream, include_usage=True, created=0, prompt_tokens=8, **fields
    )


def streamed(events, **fields):
    encoder = AnthropicEncoder(context(**fields))
    return b"".join(encoder.feed([event]) for event in events) + encoder.close()


def whole(events, **fields):
    encoder = AnthropicEncoder(context(stream=False, **fields))
    assert encoder.feed(events) == b""
    return json.loads(encoder.close())


def said(*events, **fields):
    """The message, which is the same in both forms."""
    message = whole(events, **fields)
    assert {**read(streamed(events, **fields)), "usage": None} == {**message, "usage": None}
    return message


def content(*events):
    return said(*events)["content"]


def text(words):
    return {"type": "text", "text": words}


def thinking(thought, signature=""):
    return {"type": "thinking", "thinking": thought, "signature": signature}


def call(call_id, name="f", **arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def test_the_example_of_the_reference():
    """Thought, text, and two calls whose arguments arrive at the same time."""
    f, g = ({"index": i, "id": f"c{i}", "type": "function", "function": {"name": n}} for i, n in ((1, "f"), (2, "g")))
    decoder = OpenAIChatDecoder(True)
    encoder = AnthropicEncoder(context())
    out = b"".join(
        encoder.feed(decoder.feed(piece))
        for piece in (
            chunk({"reasoning_content": "Hm"}),
            chunk({"content": "Ok"}),
            chunk({"tool_calls": [{**f, "function": {"name": "f", "arguments": '{"a":'}}]}),
            chunk({"tool_calls": [{**g, "function": {"name": "g", "arguments": "{}"}}]}),
            chunk({"tool_calls": [{"index": 1, "function": {"arguments": "1}"}}]}),
            chunk({}, finish="tool_calls"),
            chunk(usage={"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}),
            b"data: [DONE]\n\n",
        )
    )
    events = [json.loads(event.data) for event in sse.events(out + encoder.close())]

    assert [
        event.get("delta", {}).get("type") or event.get("content_block", {}).get("type") or event["type"]
        for event in events
    ] == [
        *("message_start", "thinking", "thinking_delta", "signature_delta", "content_block_stop"),
        *("text", "text_delta", "content_block_stop"),
        *("tool_use", "input_json_delta", "input_json_delta", "content_block_stop"),
        *("tool_use", "input_json_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert events[0]["message"]["usage"] == {
        "input_tokens": 8,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }
    assert events[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
        },
    }


def test_the_first_event_is_written_at_once():
    encoder = AnthropicEncoder(context())

    assert b"message_start" in encoder.feed([Start(id="up", model="theirs")])
    assert encoder.feed([TextDelta(text="a")]).count(b"event: ") == 2
    assert encoder.feed([TextDelta(text="b")]).count(b"event: ") == 1


def test_usage_includes_caches_and_thinking():
    usage = Usage(prompt=100, completion=50, cached=30, cache_write=20, reasoning=40)
    expected = {
        "input_tokens": 50,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }

    assert whole([UsageReport(usage=usage)])["usage"] == expected
    assert read(streamed([UsageReport(usage=usage)]))["usage"] == expected


def test_an_empty_response_has_no_blocks():
    message = said(Start(), TextDelta(text=""), Finish(reason="stop"))

    assert (message["content"], message["stop_reason"]) == ([], "end_turn")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Finish(reason="stop")], ("end_turn", None)),
        ([Finish(reason="stop", detail="END")], ("stop_sequence", "END")),
        ([Finish(reason="stop", detail="STOP")], ("end_turn", None)),
        ([Finish(reason="length")], ("max_tokens", None)),
        ([Finish(reason="length", detail="model_context_window_exceeded")], ("model_context_window_exceeded", None)),
        ([Finish(reason="tool_calls")], ("end_turn", None)),
        ([CallStart(call=0, id="c", name="f"), Finish(reason="stop")], ("tool_use", None)),
        ([CallStart(call=0, id="c", name="f"), Finish(reason="tool_calls")], ("tool_use", None)),
        ([CallStart(call=0, id="c", name="f"), Finish(reason="length")], ("max_tokens", None)),
        ([Finish(reason="content_filter")], ("refusal", None)),
        ([RefusalDelta(text="no"), Finish(reason="stop")], ("refusal", None)),
        ([Finish(reason="refusal")], ("refusal", None)),
        ([Finish(reason="pause")], ("pause_turn", None)),
    ],
)
def test_reasons_to_stop(events, expected):
    message = said(*events, extra={"stop_sequences": ["END"]})

    assert (message["stop_reason"], message["stop_sequence"]) == expected


def test_thoughts_after_a_text_are_a_new_block():
    events = [
        *(ReasoningDelta(text="a"), ReasoningDelta(text="b"), TextDelta(text="c"), TextDelta(text="d")),
        *(ReasoningDelta(text="e"), ReasoningDelta(text="", opaque=OWN), ReasoningDelta(text="f"), TextDelta(text="g")),
    ]

    assert content(*events) == [thinking("ab"), text("cd"), thinking("e", "own"), thinking("f"), text("g")]


def test_another_makers_signature_is_sealed():
    (block,) = content(ReasoningDelta(text="a"), ReasoningDelta(text="", opaque=GOOGLE))

    assert block["signature"] != "sig"
    assert unseal(block["signature"], "anthropic") == GOOGLE


def test_the_signature_of_a_call_is_in_the_thought_before_it():
    signed = CallStart(call=0, id="c", name="f", opaque=GOOGLE)
    (thought, called) = content(ReasoningDelta(text="a"), signed)
    (alone, _) = content(signed)
    (own, other, _) = content(ReasoningDelta(text="a", opaque=OWN), signed)

    assert (thought["thinking"], called) == ("a", call("c"))
    assert (own["thinking"], own["signature"], other["thinking"]) == ("a", "own", "")
    for block in (thought, alone, other):
        assert unseal(block["signature"], "anthropic") == GOOGLE


def test_a_signature_without_a_thought_is_kept_for_what_follows():
    (alone, said_text) = content(ReasoningDelta(text="", opaque=GOOGLE), TextDelta(text="a"))

    assert unseal(alone["signature"], "anthropic") == GOOGLE
    assert said_text == text("a")
    assert content(TextDelta(text="a"), ReasoningDelta(text="", opaque=GOOGLE)) == [text("a")]


def test_a_signature_at_the_end_does_not_take_the_last_place_from_a_text():
    """Claude Code's ``-p`` prints the last block: with a thought there, nothing."""
    assert content(TextDelta(text="a"), ReasoningDelta(text="", opaque=GOOGLE)) == [text("a")]


def test_a_redacted_thought_is_one_again():
    redacted = Opaque(maker="anthropic", payload="redacted_thinking:xyz")

    assert content(ReasoningDelta(text="", opaque=redacted), TextDelta(text="a")) == [
        {"type": "redacted_thinking", "data": "xyz"},
        text("a"),
    ]


def test_parallel_calls_are_written_one_after_the_other():
    events = [
        *(
            CallStart(call=0, id="a", name="f"),
            CallStart(call=1, id="b", name="g"),
            CallStart(call=2, id="c", name="h"),
        ),
        *(
            CallDelta(call=1, arguments='{"b":'),
            CallDelta(call=0, arguments='{"a":1}'),
            CallDelta(call=1, arguments="2}"),
        ),
        *(CallEnd(call=0), CallEnd(call=1), CallEnd(call=2)),
    ]

    assert content(*events) == [call("a", a=1), call("b", "g", b=2), call("c", "h")]


def test_a_text_ends_the_calls_before_it():
    events = [
        *(CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments="{}"), CallStart(call=1, id="b", name="g")),
        *(CallDelta(call=1, arguments='{"b":2}'), TextDelta(text="so")),
    ]

    assert content(*events) == [call("a"), call("b", "g", b=2), text("so")]
    with pytest.raises(UpstreamBroken):
        streamed([*events, CallDelta(call=0, arguments="x")])


#: What upstreams say between two pieces of a call's arguments, and the blocks of it.
BETWEEN = {
    "a text": ([TextDelta(text="\n")], [text("\n")]),
    "an empty text": ([TextDelta(text="")], []),
    "texts": ([TextDelta(text="a"), TextDelta(text="b")], [text("ab")]),
    "a thought": ([ReasoningDelta(text="hm")], [thinking("hm")]),
    "a refusal": ([RefusalDelta(text="no")], [text("no")]),
    "a text with its source": (
        [TextDelta(text="a"), Citation(dialect="anthropic_messages", payload={"url": "https://c.at"})],
        [{**text("a"), "citations": [{"url": "https://c.at"}]}],
    ),
    "a block of its own": (
        [Carried(dialect="anthropic_messages", payload={"content_block": {"type": "future"}})],
        [{"type": "future"}],
    ),
}


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize(("between", "blocks"), BETWEEN.values(), ids=BETWEEN)
def test_what_comes_between_the_arguments_of_a_call_waits_for_its_end(between, blocks, others):
    events = [
        *(CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments='{"a":')),
        *(CallStart(call=n, id=f"o{n}", name="g") for n in range(1, others + 1)),
        *between,
        CallDelta(call=0, arguments='"y"}'),
        *(CallEnd(call=n) for n in range(others + 1)),
    ]
    found = content(*events)

    assert found[: others + 1] == [call("a", a="y"), call("o1", "g")][: others + 1]
    assert [block["type"] for block in found[others + 1 :]] == (
        ["text"] if blocks is None else [b["type"] for b in blocks]
    )
    assert blocks is None or found[others + 1 :] == blocks


def test_a_call_that_is_cut_off_has_its_text_after_it():
    events = [
        *(CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments='{"a":1,"b')),
        *(TextDelta(text="so"), Finish(reason="length")),
    ]

    assert content(*events) == [call("a", a=1), text("so")]


def test_white_space_after_complete_arguments_adds_nothing():
    events = [
        *(CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments="{}"), TextDelta(text="so")),
        *(CallDelta(call=0, arguments="\n"), CallEnd(call=0)),
    ]

    assert content(*events) == [call("a"), text("so")]


def test_a_custom_tools_text_is_its_input():
    events = [CallStart(call=0, id="a", name="f", kind="custom"), CallDelta(call=0, arguments='say "hi"')]

    assert content(*events) == [call("a", input='say "hi"')]


def test_an_id_that_anthropic_refuses_is_replaced_by_the_same_each_time():
    (first,), (again,) = (content(CallStart(call=0, id="functions.f:0", name="f")) for _ in range(2))

    assert first["id"] == again["id"]
    assert first["id"].startswith("functions_f_0_")


@pytest.mark.parametrize("arguments", ["[1]", '"a"', '{"a":', "nonsense"])
def test_arguments_that_are_no_object_are_an_error_unless_the_response_was_cut_off(arguments):
    events = [CallStart(call=0, id="c", name="f"), CallDelta(call=0, arguments=arguments)]

    for encode in (streamed, whole):
        with pytest.raises(UpstreamBroken, match="'f'"):
            encode([*events, Finish(reason="tool_calls")])
    assert whole([*events, Finish(reason="length")])["stop_reason"] == "max_tokens"
    assert b"max_tokens" in streamed([*events, Finish(reason="length")])


@pytest.mark.parametrize("event", [Failed(message="down"), Finish(reason="error")])
def test_a_failure_is_no_content(event):
    for encode in (streamed, whole):
        with pytest.raises(UpstreamBroken):
            encode([TextDelta(text="a"), event])


def test_what_only_this_format_has_is_restored_and_what_only_others_have_is_left_out():
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "cats"}}
    cited = {"type": "web_search_result_location", "url": "https://c.at"}
    events = [
        TextDelta(text="a"),
        Citation(dialect="anthropic_messages", payload=cited),
        Citation(dialect="openai_chat", payload={"type": "url_citation"}),
        Carried(dialect="anthropic_messages", payload={"content_block": block}),
        Carried(dialect="openai_chat", payload={"logprobs": {}}),
        Carried(dialect="anthropic_messages", payload={"message_delta": {"context_management": {"edits": []}}}),
        TextDelta(text="other", choice=1),
    ]
    message = said(*events)

    assert message["content"] == [{**text("a"), "citations": [cited]}, block]
    assert message["context_management"] == {"edits": []}


EVENTS = st.one_of(
    st.builds(TextDelta, text=st.text(max_size=3)),
    st.builds(RefusalDelta, text=st.text(max_size=3)),
    st.builds(ReasoningDelta, text=st.text(max_size=3), opaque=st.sampled_from([None, None, GOOGLE, OWN])),
    st.tuples(st.just("call"), st.sampled_from([None, None, GOOGLE])),
    st.tuples(st.just("arguments"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9)),
)


@given(st.lists(EVENTS, max_size=25), st.sampled_from(["stop", "tool_calls", "refusal", "pause"]))
def test_a_stream_follows_every_rule_and_says_what_the_message_says(drawn, reason):
    """Calls begin, are continued and end in any order; what was said is there, in its order."""
    events, states, texts = [], [], ""
    for event in drawn:
        match event:
            case ("call", opaque):
                events.append(CallStart(call=len(states), id=f"c{len(states)}", name="f", opaque=opaque))
                states.append(True)
            case (("arguments" | "end") as what, number):
                running = [index for index, state in enumerate(states) if state]
                if running:
                    index = running[number % len(running)]
                    states[index] = False
                    events.append(CallDelta(call=index, arguments=json.dumps({"n": number})))
                    events += [CallEnd(call=index)] if what == "end" else []
            case TextDelta() | RefusalDelta():
                states = [False] * len(states)
                texts += event.text
                events.append(event)
            case _:
                states = [False] * len(states)
                events.append(event)
    message = said(*events, Finish(reason=reason), USAGE)

    assert "".join(block["text"] for block in message["content"] if block["type"] == "text") == texts
    called = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert called == [f"c{index}" for index in range(len(states))]


def test_a_message_that_was_read_is_written_as_it_was():
    """If a sanitizer has to see a response, it is decoded and encoded although both sides speak the same format."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "mine",
        "content": [
            thinking("hm", "own"),
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "cats"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result"}]},
            {**text("Cats."), "citations": [{"type": "web_search_result_location", "url": "https://c.at"}]},
            call("toolu_1", a=1),
            call("toolu_2", "g"),
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 1,
            "cache_read_input_tokens": 2,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 3},
        },
    }
    for stop in ({}, {"stop_reason": "stop_sequence", "stop_sequence": "END"}, {"stop_reason": "pause_turn"}):
        sent = {**message, **stop}
        decoder = AnthropicDecoder(False)
        events = [*decoder.feed(json.dumps(sent).encode()), *decoder.close()]

        for encode in (whole, lambda events, **fields: read(streamed(events, **fields))):
            assert encode(events, extra={"stop_sequences": ["END"]}) == sent
