"""Responses of the Responses API: bytes to events."""

import json
from contextlib import suppress

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
    StreamCut,
    TextDelta,
    UpstreamBroken,
    Usage,
    UsageReport,
    sse,
)
from proxy_core.testing import every_split
from proxy_plugin_openai_responses.dialect.failed import whole_failure
from proxy_plugin_openai_responses.dialect.response_decode import ResponsesDecoder
from proxy_plugin_openai_responses.dialect.usage_tap import ResponsesUsageTap
from proxy_plugin_openai_responses.testing import (
    Answer,
    call,
    custom,
    end,
    fails,
    hosted,
    reasoning,
    refusal,
    text,
)

USAGE = UsageReport(usage=Usage(prompt=10, completion=5, cached=4, reasoning=2))
CONTEXT = ResponseContext(id="resp_x", model="own/gpt", stream=True, include_usage=True, created=1)
START = Start(id="resp_1", model="gpt", created=1_700_000_000)
NOTE = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}

EVERYTHING = [
    reasoning("Hm", "m", encrypted="e1"),
    text("O", "k", annotations=(NOTE,)),
    hosted("web_search_call", action={"type": "search", "query": "x"}),
    call("weather", '{"city":', '"Oslo"}', call_id="c1"),
    call("now", call_id="c2", namespace="clock"),
    custom("patch", "*** ", "Begin", call_id="c3"),
    end(),
]


def stream(*steps):
    return b"".join(Answer(steps, "gpt").stream())


def whole(*steps):
    return json.dumps(Answer(steps, "gpt").whole()).encode()


def decoded(data, streaming=True):
    decoder = ResponsesDecoder(streaming)
    return merged([*decoder.feed(data), *decoder.close()])


def merged(events):
    """Pieces of one text as one."""
    out = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            out[-1] = TextDelta(text=last.text + event.text)
        elif isinstance(event, RefusalDelta) and isinstance(last, RefusalDelta):
            out[-1] = RefusalDelta(text=last.text + event.text)
        elif isinstance(event, CallDelta) and isinstance(last, CallDelta):
            out[-1] = CallDelta(call=event.call, arguments=last.arguments + event.arguments)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta) and event.opaque is None:
            out[-1] = ReasoningDelta(text=last.text + event.text, summary=event.summary)
        else:
            out.append(event)
    return out


def test_a_stream_as_events():
    assert decoded(stream(*EVERYTHING)) == [
        START,
        ReasoningDelta(text="Hmm", summary=True),
        ReasoningDelta(text="", opaque=Opaque(maker="openai", payload="e1")),
        TextDelta(text="Ok"),
        Citation(
            dialect="openai_chat",
            payload={"type": "url_citation", "url_citation": {k: v for k, v in NOTE.items() if k != "type"}},
        ),
        Carried(
            dialect="openai_responses",
            payload={
                "item": {
                    "id": "ht_1_2",
                    "type": "web_search_call",
                    "action": {"type": "search", "query": "x"},
                    "status": "completed",
                }
            },
        ),
        CallStart(call=0, id="c1", name="weather"),
        CallDelta(call=0, arguments='{"city":"Oslo"}'),
        CallEnd(call=0),
        CallStart(call=1, id="c2", name="now", namespace="clock"),
        CallDelta(call=1, arguments="{}"),
        CallEnd(call=1),
        CallStart(call=2, id="c3", name="patch", kind="custom"),
        CallDelta(call=2, arguments="*** Begin"),
        CallEnd(call=2),
        USAGE,
        Finish(reason="tool_calls"),
    ]


def test_a_whole_response_says_the_same_as_a_stream():
    assert decoded(whole(*EVERYTHING), streaming=False) == decoded(stream(*EVERYTHING))


def cited(text, of, **more):
    """A part whose source supports ``of``."""
    start = text.index(of)
    place = {"start_index": start, "end_index": start + len(of)}
    note = {"type": "url_citation", "url": f"https://{of}.at", "title": of, **place}
    return {"type": "output_text", "text": text, "annotations": [note], **more}


def message_with(item_id, *parts):
    return {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": list(parts)}


def in_events(items):
    """A stream with every event of these items' texts and sources."""
    events = [{"type": "response.created", "response": {"id": "r", "model": "m", "status": "in_progress"}}]
    for index, item in enumerate(items):
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "content": []}})
        for at, part in enumerate(item.get("content", ())):
            place = {"output_index": index, "content_index": at}
            events += [{"type": "response.output_text.delta", **place, "delta": letter} for letter in part["text"]]
            events += [
                {"type": "response.output_text.annotation.added", **place, "annotation": note}
                for note in part["annotations"]
            ]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    final = {"id": "r", "model": "m", "status": "completed", "output": items}
    events.append({"type": "response.completed", "response": final})
    return b"".join(sse.encode(json.dumps(event).encode(), event["type"]) for event in events)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("between", [[], [{"id": "w", "type": "web_search_call", "status": "completed"}]])
def test_a_source_has_its_place_in_the_text_of_all_messages(between, streaming):
    items = [
        message_with("a", cited("First part. ", "First"), cited("Second", "Second")),
        *between,
        message_with("b", cited("Third", "Third")),
    ]
    whole_body = json.dumps({"id": "r", "model": "m", "status": "completed", "output": items}).encode()
    events = decoded(in_events(items) if streaming else whole_body, streaming=streaming)
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    links = [event.payload["url_citation"] for event in events if isinstance(event, Citation)]

    assert said == ("First part. SecondThird" if between else "First part. Second\n\nThird")
    assert [said[link["start_index"] : link["end_index"]] for link in links] == ["First", "Second", "Third"]


def test_any_split_of_the_bytes_gives_the_same_events():
    data = stream(text("ö"), end())
    for pieces in every_split(data):
        decoder = ResponsesDecoder(True)
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert merged([*events, *decoder.close()]) == decoded(data)


LEFT_OUT = {
    "no deltas": lambda kind: not kind.endswith(".delta"),
    "no whole texts": lambda kind: not kind.endswith(("text.done", "arguments.done", "input.done", "refusal.done")),
    "no parts": lambda kind: "_part." not in kind,
    "no items": lambda kind: not kind.startswith("response.output_item"),
    "only the response": lambda kind: kind == "response.completed",
    "only finished items": lambda kind: kind in ("response.output_item.done", "response.completed"),
    "items without an end": lambda kind: kind != "response.output_item.done",
}


def events_of(data):
    return [block + b"\n\n" for block in data.split(b"\n\n") if block]


def kind_of(event):
    return event.split(b"\n")[0].removeprefix(b"event: ").decode()


@pytest.mark.parametrize("keep", LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_a_server_leaves_out_is_found_elsewhere(keep):
    steps = [step for step in EVERYTHING if step is not EVERYTHING[2]]
    data = stream(*steps)
    events = decoded(b"".join(event for event in events_of(data) if keep(kind_of(event))))

    def content(found):
        return sorted((e for e in found if not isinstance(e, Start)), key=repr)

    assert content(merged(sorted(events, key=_order))) == content(merged(sorted(decoded(data), key=_order)))


def _order(event):
    return (type(event).__name__, getattr(event, "call", 0), getattr(event, "text", None) == "")


def test_events_without_the_line_event_are_read_too():
    data = stream(*EVERYTHING)
    bare = b"".join(b"\n".join(line for line in e.split(b"\n")[1:]) for e in events_of(data))

    assert decoded(bare) == decoded(data)


def test_unknown_events_comments_and_what_follows_the_end_are_ignored():
    more = b': hi\n\nevent: response.new\ndata: {"type":"response.new","delta":"x"}\n\n'
    done = b"data: [DONE]\n\n"
    data = stream(text("ok"), end())

    assert decoded(more + data + done + b"data: broken\n\n") == decoded(data)


def test_a_final_text_that_extends_the_pieces_adds_the_rest():
    data = stream(text("hel", "lo"), end()).replace(b'"delta": "lo"', b'"delta": ""')

    assert TextDelta(text="hello") in decoded(data)


def test_sections_of_a_summary_are_set_apart():
    item = {"type": "reasoning", "id": "rs", "summary": [{"text": "One"}, {"text": "Two"}]}
    body = {"object": "response", "status": "completed", "output": [item]}
    (_, thought, _) = decoded(json.dumps(body).encode(), streaming=False)

    assert thought.text == "One\n\nTwo"


ENDS = {
    "complete": ([text("a"), end()], Finish(reason="stop")),
    "calls": ([call("f"), end()], Finish(reason="tool_calls")),
    "length": ([text("a"), end("max_output_tokens")], Finish(reason="length", detail="max_output_tokens")),
    "length with a call": ([call("f"), end("max_output_tokens")], Finish(reason="length", detail="max_output_tokens")),
    "filter": ([text("a"), end("content_filter")], Finish(reason="content_filter", detail="content_filter")),
    "refusal": ([refusal("No", "."), end()], Finish(reason="refusal")),
    "nothing": ([end()], Finish(reason="stop")),
}


@pytest.mark.parametrize(("steps", "finish"), ENDS.values(), ids=ENDS)
def test_how_responses_end(steps, finish):
    assert decoded(stream(*steps))[-1] == finish
    assert decoded(whole(*steps), streaming=False)[-1] == finish


@pytest.mark.parametrize("event", [False, True])
def test_an_error_inside_a_stream(event):
    data = stream(text("a"), fails("rate_limit_exceeded", "Try again in 2s.", event=event))
    *_, last = decoded(data + stream(text("b")))

    assert (last.message, last.code, last.status) == ("Try again in 2s.", "rate_limit_exceeded", None)


def test_an_error_in_a_member_and_one_that_failed_without_a_reason():
    nested = decoded(b'event: error\ndata: {"type":"error","error":{"code":"x","message":"m","type":"t"}}\n\n')
    silent = decoded(b'data: {"type":"response.failed","response":{"status":"failed","error":null}}\n\n')

    assert nested == [Failed(message="m", code="x", type="t")]
    assert [event.code for event in silent] == ["server_error"]


def test_an_image_that_cannot_be_read_is_the_clients_problem():
    (_, failed) = decoded(stream(fails("invalid_image_format")))

    assert failed.status == 400


def test_a_whole_response_that_failed():
    (failed,) = decoded(whole(fails("server_error", "Sorry.")), streaming=False)

    assert (failed.message, failed.code) == ("Sorry.", "server_error")


def test_a_stream_without_its_end_is_cut():
    data = stream(text("hello"))
    decoder = ResponsesDecoder(True)
    decoder.feed(data)

    with pytest.raises(StreamCut):
        decoder.close()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"object":"response","status":"queued","output":[]}'])
def test_a_body_that_is_not_a_response(body):
    decoder = ResponsesDecoder(False)
    decoder.feed(body)

    with pytest.raises(UpstreamBroken):
        decoder.close()


LEAVES = st.sampled_from([None, True, 0, 1, -3, 2.5, "", "a", "{}", "message", "function_call", "reasoning", [], {}])
NAMES = st.sampled_from(
    "output_index content_index delta text item id call_id name arguments input content summary response output"
    " error status type encrypted_content annotation annotations logprobs usage incomplete_details".split()
)
TYPES = st.sampled_from([*sorted({kind_of(event) for event in events_of(stream(*EVERYTHING))}), "error", "", 3, []])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=6
)
EVENTS = st.builds(lambda kind, rest: {**rest, "type": kind}, TYPES, st.dictionaries(NAMES, VALUES, max_size=4))


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_any_json_is_events_or_an_error_of_the_project(events):
    streamed, plain = ResponsesDecoder(True), ResponsesDecoder(False)
    watching = ResponsesUsageTap("p", CONTEXT, False)
    for decoder in (streamed, plain):
        with suppress(UpstreamBroken, StreamCut):
            for event in events:
                data = json.dumps(event).encode()
                decoder.feed(b"data: " + data + b"\n\n" if decoder is streamed else data)
            decoder.close()
    for event in events:
        watching.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        whole_failure("p", event)
