"""Responses of Anthropic's: each event, any split of the bytes, and whole messages that say the same."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatRequest,
    Citation,
    CustomTool,
    Failed,
    Finish,
    FunctionTool,
    Opaque,
    ProxyError,
    ReasoningDelta,
    ResponseContext,
    Start,
    StreamCut,
    TextDelta,
    UpstreamBroken,
    Usage,
    UsageReport,
)
from proxy_core.testing import every_split
from proxy_plugin_anthropic.dialect.names import name_table
from proxy_plugin_anthropic.dialect.response_decode import AnthropicDecoder
from proxy_plugin_anthropic.dialect.usage_tap import AnthropicUsageTap, whole_failure
from proxy_plugin_anthropic.testing import block, call, event, fails, finish, redacted, text, thinking
from proxy_plugin_anthropic.testing.message import plain, stream

MODEL = "claude-sonnet-5"
CITATION = {"type": "web_search_result_location", "url": "https://x.example", "title": "X", "cited_text": "c"}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
EVERYTHING = [
    thinking("Hm", signature="sig"),
    redacted("red"),
    text("hel"),
    text("lo"),
    block(**SEARCH),
    block(**FOUND),
    text("ü\u2028", citations=[CITATION]),
    call("weather", {"city": "Oslo"}, id="c1"),
    call("now", id="c2"),
    finish("tool_use", input_tokens=5, cache_read_input_tokens=3, cache_creation_input_tokens=2, output_tokens=7),
]


def streamed(*steps):
    return b"".join(stream(steps, MODEL, "msg_1"))


def events_of(data, *, streaming=True, names=None):
    decoder = AnthropicDecoder(streaming, names=names)
    return [*decoder.feed(data), *decoder.close()]


def joined(events):
    """The events of a stream as those of a whole message: pieces of one text together, the last usage only."""
    out = []
    for found in events:
        last = out[-1] if out else None
        match last, found:
            case TextDelta(), TextDelta():
                out[-1] = TextDelta(text=last.text + found.text)
            case CallDelta(), CallDelta():
                out[-1] = CallDelta(call=found.call, arguments=last.arguments + found.arguments)
            case _, UsageReport():
                pass
            case _:
                out.append(found)
    return [*out, *[found for found in events if isinstance(found, UsageReport)][-1:]]


def test_everything_that_a_response_can_contain():
    sig, red = Opaque(maker="anthropic", payload="sig"), Opaque(maker="anthropic", payload="redacted_thinking:red")
    detail = {"format": "anthropic-claude-v1"}
    assert joined(events_of(streamed(*EVERYTHING))) == [
        Start(id="msg_1", model=MODEL),
        ReasoningDelta(text="Hm"),
        ReasoningDelta(text="", opaque=sig),
        Carried(
            dialect="openai_chat",
            payload={
                "delta": {
                    "reasoning_details": [
                        {"index": 0, **detail, "type": "reasoning.text", "text": "Hm", "signature": "sig"}
                    ]
                }
            },
        ),
        ReasoningDelta(text="", opaque=red),
        Carried(
            dialect="openai_chat",
            payload={
                "delta": {"reasoning_details": [{"index": 1, **detail, "type": "reasoning.encrypted", "data": "red"}]}
            },
        ),
        TextDelta(text="hello"),
        Carried(dialect="anthropic_messages", payload={"content_block": SEARCH}),
        Carried(dialect="anthropic_messages", payload={"content_block": FOUND}),
        Citation(dialect="anthropic_messages", payload=CITATION),
        TextDelta(text="ü\u2028"),
        Citation(
            dialect="openai_chat",
            payload={
                "type": "url_citation",
                "url_citation": {"url": "https://x.example", "title": "X", "start_index": 5, "end_index": 7},
            },
        ),
        CallStart(call=0, id="c1", name="weather"),
        CallDelta(call=0, arguments='{"city": "Oslo"}'),
        CallEnd(call=0),
        CallStart(call=1, id="c2", name="now"),
        CallEnd(call=1),
        Finish(reason="tool_calls"),
        UsageReport(usage=Usage(prompt=10, completion=7, cached=3, cache_write=2)),
    ]


def test_a_whole_message_says_the_same():
    whole = events_of(json.dumps(plain(EVERYTHING, MODEL, "msg_1")).encode(), streaming=False)
    live = joined(events_of(streamed(*EVERYTHING)))
    spaced = [
        CallDelta(call=found.call, arguments=json.dumps(json.loads(found.arguments)))
        if isinstance(found, CallDelta)
        else found
        for found in joined(whole)
    ]

    assert spaced == live


def test_any_split_of_the_bytes_gives_the_same_events():
    data = streamed(*EVERYTHING).replace(b"\n", b"\r\n")
    whole = events_of(data)
    for first, second in every_split(data):
        decoder = AnthropicDecoder(True)
        assert [*decoder.feed(first), *decoder.feed(second), *decoder.close()] == whole


def test_usage_is_known_from_the_start_and_replaced_at_the_end():
    reports = [found.usage for found in events_of(streamed(*EVERYTHING)) if isinstance(found, UsageReport)]

    assert reports == [
        Usage(prompt=10, completion=1, cached=3, cache_write=2),
        Usage(prompt=10, completion=7, cached=3, cache_write=2),
    ]


def test_thinking_tokens_are_part_of_the_output():
    found = events_of(streamed(text("x"), finish(output_tokens=9, output_tokens_details={"thinking_tokens": 4})))

    assert found[-2] == UsageReport(usage=Usage(prompt=9, completion=9, reasoning=4))


@pytest.mark.parametrize(
    ("word", "reason", "detail"),
    [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", "END"),
        ("max_tokens", "length", None),
        ("model_context_window_exceeded", "length", "model_context_window_exceeded"),
        ("tool_use", "tool_calls", None),
        ("pause_turn", "pause", "pause_turn"),
        ("refusal", "content_filter", "refusal"),
        ("news", "stop", "news"),
    ],
)
def test_stop_reasons(word, reason, detail):
    found = events_of(streamed(text("x"), finish(word, stop_sequence="END" if word == "stop_sequence" else None)))

    assert found[-1] == Finish(reason=reason, detail=detail)


def test_names_of_tools_are_the_clients_own():
    chat = ChatRequest(
        model="m",
        dialect="openai_responses",
        messages=[],
        tools=[FunctionTool(name="a.b"), FunctionTool(name="spawn", namespace="agents"), CustomTool(name="patch")],
    )
    names = name_table(chat)
    sent = [names.to_upstream("a.b"), names.to_upstream("spawn", "agents"), names.to_upstream("patch")]
    found = events_of(
        streamed(*(call(name, {"input": "*** ü"}, id=name) for name in sent), finish("tool_use")), names=names
    )
    starts = [(s.name, s.namespace, s.kind) for s in found if isinstance(s, CallStart)]
    custom = [found.arguments for found in found if isinstance(found, CallDelta) and found.call == 2]

    assert starts == [("a.b", None, "function"), ("spawn", "agents", "function"), ("patch", None, "custom")]
    assert custom == ["*** ü"]


def test_an_error_in_words_only_is_passed_on():
    *_, last = events_of(streamed(text("x")) + b"event: error\ndata: Overloaded, sorry\n\n")

    assert last == Failed(message="Overloaded, sorry")


def test_an_error_inside_a_stream_ends_it():
    found = events_of(streamed(text("x"), fails("overloaded_error", "Overloaded")) + event("message_stop"))

    assert found[-1] == Failed(message="Overloaded", status=529, type="overloaded_error")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        streamed(text("x")),
        streamed(text("x"), finish()).removesuffix(event("message_stop")),
        streamed(text("x"), finish())[:200],
    ],
)
def test_a_stream_without_its_end_was_cut(data):
    with pytest.raises(StreamCut):
        events_of(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"<html>", b'{"content": 1}', b'"x"'])
def test_a_body_that_is_no_message_is_refused(data):
    with pytest.raises(UpstreamBroken):
        events_of(data, streaming=False)


def test_events_of_a_later_version_are_ignored():
    odd = event("content_block_telemetry", index=0, more=1) + event("content_block_delta", index=9, delta={"x": 1})
    data = streamed(text("x"), finish())

    assert events_of(data.replace(event("ping"), odd)) == events_of(data)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "type index delta content_block message error usage text thinking signature partial_json input id name"
                " content stop_reason citations citation data model".split()
            ),
            st.one_of(
                inner,
                st.sampled_from(
                    "message_start content_block_start content_block_delta content_block_stop message_delta"
                    " message_stop error text thinking redacted_thinking tool_use server_tool_use".split()
                ),
            ),
            max_size=5,
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(found=st.lists(values, max_size=5))
def test_no_event_crashes_the_decoder_or_the_tap(found):
    data = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in found)
    for streaming, body in ((True, data), (False, json.dumps(found[0] if found else {}).encode())):
        with suppress(ProxyError):
            events_of(body, streaming=streaming)
    tap_of().feed(data)


# --- Relayed streams ---------------------------------------------------------------------


def tap_of(model=MODEL):
    context = ResponseContext(id="r", model=model, stream=True, include_usage=True, created=0)
    return AnthropicUsageTap("anthropic", context, False)


def test_a_relayed_stream_is_unchanged_and_watched():
    data, tap = streamed(*EVERYTHING), tap_of()

    assert tap.feed(data) == data
    assert (tap.ended, tap.complete, tap.committed, tap.failure) == (True, True, True, None)
    assert tap.usage == Usage(prompt=10, completion=7, cached=3, cache_write=2)
    assert tap.feed(event("ping")) == b""


def test_only_the_models_name_is_replaced():
    data = streamed(text(f'"model": "{MODEL}"'), finish())
    relayed = tap_of("mine").feed(data)

    assert relayed == data.replace(f'"model": "{MODEL}"'.encode(), b'"model": "mine"', 1)


@pytest.mark.parametrize(
    ("steps", "committed"),
    [
        ([], False),
        ([event("content_block_start", index=0, content_block={"type": "text", "text": ""})], False),
        ([text("")], False),
        ([text("x")], True),
        ([event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})], False),
        ([event("content_block_start", index=0, content_block={"type": "tool_use", "id": "c", "name": "f"})], True),
        ([finish()], True),
    ],
)
def test_the_first_content(steps, committed):
    tap = tap_of()
    for read in stream(steps, MODEL, "msg_1"):
        tap.feed(read)

    assert tap.committed == committed


def test_nothing_follows_an_error():
    tap = tap_of()
    good = streamed(text("x"))
    bad = event("error", error={"type": "rate_limit_error", "message": "slow"})

    assert tap.feed(good + bad + event("message_stop")) == good
    assert (tap.failure.status, json.loads(tap.failure.body)["error"]["message"]) == (429, "slow")


def test_a_stream_without_a_word_is_a_failure():
    tap = tap_of()
    tap.feed(event("message_stop"))

    assert tap.failure.transport == "unreadable"


def test_errors_with_status_200():
    assert whole_failure("anthropic", plain([text("x"), finish()], MODEL, "m")) is None
    assert whole_failure("anthropic", {"type": "error", "error": {"type": "api_error", "message": "x"}}).status == 500
    assert whole_failure("anthropic", {"odd": 1}).transport == "unreadable"
