"""Responses: Gemini's bytes to events, events to Gemini's bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    CallDelta,
    CallEnd,
    CallStart,
    CapacityExhausted,
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
    UpstreamRejected,
    Usage,
    UsageReport,
    sse,
)
from proxy_core.dialects.openai_chat import OpenAIChatEncoder
from proxy_core.testing import every_split
from proxy_plugin_gemini import dialect as gemini
from proxy_plugin_gemini.dialect.names import NameTable, Original
from proxy_plugin_gemini.dialect.response_decode import GeminiDecoder
from proxy_plugin_gemini.dialect.response_encode import GeminiEncoder


def candidate(*parts, finish=None, index=None, **more):
    body = {"content": {"role": "model", "parts": list(parts)}, **more}
    if finish:
        body["finishReason"] = finish
    return {"candidates": [body if index is None else {**body, "index": index}]}


def text(value, **more):
    return {"text": value, **more}


def called(name, args=None, **more):
    call = {"name": name, **({} if args is None else {"args": args}), **more.pop("call", {})}
    return {"functionCall": call, **more}


def stream(*objects, end=b"\n\n"):
    return b"".join(b"data: " + (o if isinstance(o, bytes) else json.dumps(o).encode()) + end for o in objects)


def read(data, *, streaming=True, step=None, **options):
    decoder = GeminiDecoder(streaming, **options)
    pieces = [data] if step is None else [data[i : i + step] for i in range(0, len(data), step)]
    return [*(e for piece in pieces for e in decoder.feed(piece)), *decoder.close()]


def whole(*objects, **options):
    return read(json.dumps(objects[0] if len(objects) == 1 else list(objects)).encode(), streaming=False, **options)


def without_start(events):
    return [e for e in events if not isinstance(e, Start)]


# --- Bytes to events ---------------------------------------------------------------------

#: The stream of the reference, with its envelope.
WRAPPED = stream(
    {
        "response": {
            **candidate(text("Planning", thought=True)),
            "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
            "responseId": "r1",
        },
        "traceId": "t1",
    },
    {"traceId": "t1"},
    {"response": candidate(text("Hel")), "traceId": "t1"},
    {
        "response": {
            **candidate(text("lo \u2028ü"), text("", thoughtSignature="U0lH"), finish="STOP"),
            "usageMetadata": {
                "promptTokenCount": 9,
                "cachedContentTokenCount": 4,
                "toolUsePromptTokenCount": 1,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 20,
                "totalTokenCount": 32,
            },
        },
        "traceId": "t1",
    },
)
EVENTS = [
    Start(id="r1"),
    ReasoningDelta(text="Planning"),
    UsageReport(usage=Usage(prompt=9)),
    TextDelta(text="Hel"),
    TextDelta(text="lo \u2028ü"),
    ReasoningDelta(text="", opaque=Opaque(maker="google", payload="U0lH")),
    UsageReport(usage=Usage(prompt=10, completion=22, cached=4, reasoning=20)),
    Finish(reason="stop"),
]


def test_a_stream_in_its_envelope():
    assert read(WRAPPED) == EVENTS


@pytest.mark.parametrize(
    "data",
    [
        WRAPPED,
        WRAPPED.replace(b"\n\n", b"\r\n\r\n"),
        WRAPPED.replace(b"data: ", b"data:").removesuffix(b"\n\n"),
        b"\xef\xbb\xbf: hello\n\n" + WRAPPED + b"data: [DONE]\n\n",
        WRAPPED.replace(b"data: ", b"event: x\nid: 1\ndata: ").replace(b'"response": ', b'\ndata: "response": '),
        WRAPPED.replace(b'data: {"traceId": "t1"}', b"data: {oops"),
        b" \n[" + b",\r\n".join(e.data for e in sse.events(WRAPPED)) + b"]\n",
        b"".join(e.data for e in sse.events(WRAPPED)),
    ],
    ids=["LF", "CRLF", "tight", "comments", "lines", "one bad event", "array", "objects"],
)
def test_any_split_of_any_form_gives_the_same_events(data):
    assert read(data) == EVENTS
    for first, second in every_split(data):
        decoder = GeminiDecoder(True)
        assert [*decoder.feed(first), *decoder.feed(second), *decoder.close()] == EVENTS
    for step in (1, 2, 3, 7, 50):
        assert read(data, step=step) == EVENTS


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 9),
    st.booleans(),
)
def test_any_text_in_any_split(texts, step, array):
    objects = [candidate(text(t)) for t in texts] + [candidate(finish="STOP")]
    data = json.dumps(objects, ensure_ascii=False).encode() if array else stream(*objects)

    assert [e.text for e in read(data, step=step) if isinstance(e, TextDelta)] == texts


def test_a_whole_response_says_the_same_as_its_stream():
    answer = candidate(text("hm", thought=True), text("hi"), called("f", {"a": 1}), finish="STOP")
    answer |= {"modelVersion": "m", "responseId": "r", "createTime": "2026-11-01T10:00:00.123456789Z"}

    events = whole(answer)

    assert events[0] == Start(id="r", model="m", created=1793527200)
    assert events == whole({"response": answer}) == read(stream(answer)) == whole(answer, {})


def test_calls_come_whole_and_are_numbered_over_the_whole_stream():
    events = read(
        stream(
            candidate(called("f", {"ü": [1]}, thoughtSignature="s", call={"id": "1"}), called("g")),
            candidate(called("f", {}, call={"id": "1"})),
            candidate(finish="STOP"),
        )
    )

    starts = [e for e in events if isinstance(e, CallStart)]
    assert [(s.call, s.name) for s in starts] == [(0, "f"), (1, "g"), (2, "f")]
    assert starts[0].id == "1"
    assert starts[0].opaque == Opaque(maker="google", payload="s")
    assert len({s.id for s in starts}) == 3
    assert [e.arguments for e in events if isinstance(e, CallDelta)] == ['{"ü":[1]}', "{}", "{}"]
    assert [e.call for e in events if isinstance(e, CallEnd)] == [0, 1, 2]
    assert events[-1] == Finish(reason="tool_calls")


def test_made_up_ids_are_the_same_for_the_same_bytes_and_differ_between_attempts():
    def call_id(seed="", **more):
        return next(
            e.id
            for e in whole({**candidate(called("f"), finish="STOP"), **more}, seed=seed)
            if isinstance(e, CallStart)
        )

    assert call_id() == call_id()
    assert len({call_id(), call_id(seed="a"), call_id(responseId="r")}) == 3


def test_functions_get_their_own_names_back():
    names = NameTable(called={"g_t": Original("g t", "space"), "sql": Original("sql", None, "custom")})

    first, second = [
        e
        for e in whole(candidate(called("g_t"), called("sql", {"input": "x"}), finish="STOP"), names=names)
        if isinstance(e, CallStart | CallDelta)
    ][::2]

    assert (first.name, first.namespace, second.kind) == ("g t", "space", "custom")


@pytest.mark.parametrize(
    ("word", "with_text", "with_call", "with_nothing"),
    [
        ("STOP", "stop", "tool_calls", None),
        ("MAX_TOKENS", "length", "length", "length"),
        *(
            (word, "content_filter", "content_filter", "content_filter")
            for word in (
                *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"),
                *("IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER"),
            )
        ),
        *((word, "stop", "tool_calls", None) for word in ("NO_IMAGE", "SOMETHING_NEW")),
        *(
            (word, None, None, None)
            for word in (
                *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER"),
                *("MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"),
            )
        ),
    ],
)
def test_how_a_candidate_ends(word, with_text, with_call, with_nothing):
    for parts, reason in (
        ([text("a")], with_text),
        ([called("f")], with_call),
        ([text("hm", thought=True)], with_nothing),
        ([], with_nothing),
    ):
        answer = candidate(*parts, finish=word, finishMessage="because")
        for end in (whole(answer)[-1], read(stream(answer))[-1]):
            if reason is None:
                assert isinstance(end, Failed)
                assert end.status == 502
                assert word == "STOP" or (word in end.message and "because" in end.message)
            else:
                assert isinstance(end, Finish)
                assert end.reason == reason


def test_no_event_is_emitted_before_there_is_something_to_deliver():
    decoder = GeminiDecoder(True)

    assert decoder.feed(stream({**candidate(), "responseId": "r", "usageMetadata": {"promptTokenCount": 1}})) == []
    assert len(decoder.feed(stream(candidate(text("a"))))) == 3


def test_a_blocked_prompt():
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."},
        "usageMetadata": {"promptTokenCount": 3},
    }

    for events in (whole(blocked), read(stream(blocked))):
        assert RefusalDelta(text="The prompt was blocked: SAFETY. No.") in events
        assert events[-1] == Finish(reason="content_filter", detail="SAFETY")
        assert UsageReport(usage=Usage(prompt=3)) in events


@pytest.mark.parametrize("data", [b"", stream(candidate(text("a"))), stream({"traceId": "t"}), b'[{"candidates": ['])
def test_a_stream_without_its_end_is_cut(data):
    with pytest.raises(StreamCut):
        read(data)


def test_an_invalid_response():
    with pytest.raises(UpstreamBroken):
        read(b"<html>", streaming=False)
    with pytest.raises(UpstreamBroken):
        read(stream(b"oops"))
    assert whole({})[-1].code == "empty_response"
    assert whole({"candidates": []})[-1].code == "empty_response"


ERROR = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": []}
#: The rest of the error goes on to the judge.
REST = {"status": "RESOURCE_EXHAUSTED", "details": []}
SLOW = Failed(message="slow down", status=429, type="RESOURCE_EXHAUSTED", extra=REST)


@pytest.mark.parametrize(
    "data",
    [
        stream({"error": ERROR}),
        stream([{"error": ERROR}]),
        stream({"error": {"code": 500, "message": json.dumps({"error": ERROR})}}),
        stream({"response": {}}, {"error": ERROR}),
        json.dumps({"error": ERROR}, indent=2).encode(),
        json.dumps([{"error": ERROR}], indent=2).encode(),
        stream({"error": {" code": "429", "message": "slow down", "status ": "RESOURCE_EXHAUSTED"}}),
    ],
)
def test_an_error_in_every_form_it_comes_in(data):
    for step in (None, 1, 5):
        (failed,) = read(data, step=step)
        assert replace(failed, extra=REST) == SLOW
        assert failed.extra.items() <= REST.items()


def test_an_error_after_content():
    data = stream(candidate(text("a"))) + json.dumps({"error": ERROR}, indent=1).encode()

    assert without_start(read(data)) == [TextDelta(text="a"), SLOW]
    assert read(stream({"error": "plain"})) == [Failed(message="plain")]


def test_candidates_keep_their_numbers():
    answer = {"candidates": [candidate(text(t), finish="STOP", index=i)["candidates"][0] for i, t in enumerate("ab")]}

    assert without_start(whole(answer)) == [
        TextDelta(text="a"),
        TextDelta(text="b", choice=1),
        Finish(reason="stop"),
        Finish(reason="stop", choice=1),
    ]


def test_a_candidates_members_other_than_its_parts():
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [{"segment": {"endIndex": 2, "text": "hi"}, "groundingChunkIndices": [0, 7]}, {}],
    }
    logprobs = {
        "chosenCandidates": [{"token": "hi", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "ho"}]}],
    }
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    code = (
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OK", "output": "2"}},
    )

    events = whole(
        candidate(
            text("hi"),
            image,
            *code,
            {"own": 1},
            finish="STOP",
            groundingMetadata=grounding,
            logprobsResult=logprobs,
            avgLogprobs=-1,
        )
    )

    assert Citation(dialect="gemini", payload=grounding) in events
    note = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
    assert Citation(dialect="openai_chat", payload={"type": "url_citation", "url_citation": note}) in events
    assert Carried(dialect="gemini", payload={"candidate": {"avgLogprobs": -1, "logprobsResult": logprobs}}) in events
    openai = assembled(events, OpenAIChatEncoder)
    message = openai["choices"][0]["message"]
    assert message["content"] == "hi\n```python\n1\n```\n\n```\n2\n```\n"
    assert message["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    assert message["annotations"][0]["url_citation"]["url"] == "https://a.example"
    assert openai["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["token"] == "ho"
    own = assembled(events, GeminiEncoder)["candidates"][0]
    assert own["groundingMetadata"] == grounding
    assert image in own["content"]["parts"]


def test_signatures_reach_openais_clients_as_google_sends_them():
    events = read(
        stream(
            candidate(text("a"), text("", thoughtSignature="t"), called("f", thoughtSignature="s")),
            candidate(finish="STOP"),
        )
    )

    message = assembled(events, OpenAIChatEncoder)["choices"][0]["message"]

    assert message["extra_content"] == {"google": {"thought_signature": "t"}}
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


# --- Events to bytes ---------------------------------------------------------------------


def context(streaming=False, **extra):
    return ResponseContext(
        id="r", model="m", stream=streaming, include_usage=True, created=1, extra={"thoughts": True, **extra}
    )


def assembled(events, encoder=GeminiEncoder, **extra):
    writer = encoder(context(**extra))
    return json.loads(writer.feed(events) + writer.close())


def streamed(events, **extra):
    """Feed like the pipeline: the events that end a response come last."""
    writer = GeminiEncoder(context(True, **extra))
    ending = [e for e in events if isinstance(e, Finish | UsageReport)]
    data = b"".join(writer.feed([e]) for e in events if e not in ending) + writer.feed(ending) + writer.close()
    return [json.loads(e.data) for e in sse.events(data)]


#: The worked example of the reference.
EXAMPLE = [
    Start(id="x"),
    ReasoningDelta(text="Hm"),
    TextDelta(text="Ok"),
    CallStart(call=0, id="c1", name="f"),
    CallDelta(call=0, arguments='{"a":'),
    CallStart(call=1, id="c2", name="g"),
    CallDelta(call=1, arguments="{}"),
    CallDelta(call=0, arguments="1}"),
    CallEnd(call=0),
    CallEnd(call=1),
    Finish(reason="tool_calls"),
    UsageReport(usage=Usage(prompt=10, completion=5, cached=4)),
]
USAGE = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 15}


def test_the_worked_example_whole_and_streamed():
    parts = [
        {"text": "Hm", "thought": True},
        {"text": "Ok"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
    ]

    response, chunks = assembled(EXAMPLE), streamed(EXAMPLE)

    assert response["candidates"] == [
        {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    ]
    assert response["usageMetadata"] == chunks[-1]["usageMetadata"] == USAGE
    assert (response["modelVersion"], response["responseId"]) == ("m", "r")
    said = [p for c in chunks[:-1] for p in c["candidates"][0]["content"]["parts"]]
    assert said == parts
    assert [c["candidates"][0].get("finishReason") for c in chunks] == [None] * (len(chunks) - 1) + ["STOP"]


def test_thoughts_are_not_included_without_a_request():
    assert all("thought" not in p for p in assembled(EXAMPLE, thoughts=False)["candidates"][0]["content"]["parts"])


def test_an_array_of_one():
    writer = GeminiEncoder(context(array=True))

    (response,) = json.loads(writer.feed(EXAMPLE) + writer.close())

    assert response["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish(reason="stop"), "STOP"),
        (Finish(reason="stop", detail="\n"), "STOP"),
        (Finish(reason="length"), "MAX_TOKENS"),
        (Finish(reason="content_filter"), "SAFETY"),
        (Finish(reason="content_filter", detail="RECITATION"), "RECITATION"),
        (Finish(reason="refusal"), "SAFETY"),
        (Finish(reason="error"), "OTHER"),
    ],
)
def test_finish_words(finish, word):
    assert assembled([TextDelta(text="a"), finish])["candidates"][0]["finishReason"] == word


def test_a_refusal_is_text_and_safety():
    (response,) = assembled([RefusalDelta(text="no"), Finish(reason="stop")])["candidates"]

    assert (response["content"]["parts"], response["finishReason"]) == ([{"text": "no"}], "SAFETY")


def test_arguments_that_are_no_object_are_the_models_fault():
    (response,) = assembled(
        [CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments="{oops"), Finish(reason="tool_calls")]
    )["candidates"]

    assert response["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert "f" in response["finishMessage"]


def test_a_call_that_was_cut_off_at_the_limit_says_so():
    events = [CallStart(call=0, id="a", name="f"), CallDelta(call=0, arguments='{"a": "b')]
    (response,) = assembled([*events, Finish(reason="length")])["candidates"]

    assert response["finishReason"] == "MAX_TOKENS"
    assert "finishMessage" not in response
    assert response["content"]["parts"] == [{"text": ""}]


def test_a_blocked_prompt_is_reported_as_blocked():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}}

    assert assembled(whole(blocked))["promptFeedback"] == blocked["promptFeedback"]
    assert "candidates" not in assembled(whole(blocked))
    assert assembled(whole(blocked), OpenAIChatEncoder)["choices"][0]["finish_reason"] == "content_filter"


parts = st.lists(
    st.one_of(
        st.builds(text, st.text(alphabet="aü\u2028", min_size=1, max_size=3)),
        st.builds(lambda t: text(t, thought=True), st.text(alphabet="ab", min_size=1, max_size=3)),
        st.builds(
            lambda n, a, i: called(n, a, call={"id": i}),
            st.sampled_from("fg"),
            st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
            st.uuids().map(str),
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(parts, st.integers(1, 40))
def test_decode_after_encode_keeps_the_meaning(said, step):
    answer = {
        **candidate(*said, text("end"), finish="STOP"),
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
    }
    events = whole(answer)

    again = whole(assembled(events))
    writer = GeminiEncoder(context(True))
    data = b"".join(writer.feed([e]) for e in events) + writer.close()

    assert texts_and_calls(again) == texts_and_calls(events) == texts_and_calls(read(data, step=step))
    assert again[-1] == events[-1] == read(data)[-1]


def texts_and_calls(events):
    out = []
    for event in events:
        match event:
            case TextDelta() | ReasoningDelta():
                if out and out[-1][0] is type(event):
                    out[-1] = (type(event), out[-1][1] + event.text)
                else:
                    out.append((type(event), event.text))
            case CallStart():
                out.append((event.id, event.name))
            case CallDelta():
                out.append(event.arguments)
            case UsageReport():
                out.append(event.usage)
    return [o for o in out if not isinstance(o, Usage)] + [o for o in out if isinstance(o, Usage)][-1:]


# --- Errors and the meter ----------------------------------------------------------------


def told(error):
    encoded = gemini.DIALECT.encode_error(error, "id")
    inside = gemini.DIALECT.stream_error(error, "id")
    assert json.loads(inside) == json.loads(encoded.body)
    assert inside.startswith(b'{"error":')
    return json.loads(encoded.body)["error"]


def test_errors_in_googles_words():
    limited = told(CapacityExhausted("resting", retry_after_s=6.2))
    bad = told(BadRequest("no", param="contents"))
    own = told(
        UpstreamRejected("no", status=400, details={"status": "FAILED_PRECONDITION", "details": [{"reason": "x"}]})
    )

    assert (limited["code"], limited["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"} in limited["details"]
    assert (bad["code"], bad["status"], bad["details"][0]["fieldViolations"][0]["field"]) == (
        400,
        "INVALID_ARGUMENT",
        "contents",
    )
    assert (own["status"], own["details"]) == ("FAILED_PRECONDITION", [{"reason": "x"}])


def metered(data, choices=1):
    meter = gemini.GeminiUsageTap(
        "p",
        ResponseContext(id="r", model="m", stream=True, include_usage=True, created=1, expected_choices=choices),
        False,
    )
    out = b"".join(meter.feed(raw) for raw in sse.split(data)) + meter.close()
    return out, meter


def test_a_relayed_stream_is_looked_at_and_not_touched():
    data = stream(
        {**candidate(text("a")), "usageMetadata": {"promptTokenCount": 1}},
        {**candidate(finish="STOP"), "usageMetadata": {"promptTokenCount": 5}},
        end=b"\r\n\r\n",
    )

    out, meter = metered(data)

    assert out == data
    assert (meter.complete, meter.usage, meter.failure) == (True, Usage(prompt=5), None)
    assert not metered(stream(candidate(text("finishReason"))))[1].complete
    assert not metered(data, choices=2)[1].complete
    assert metered(stream({"promptFeedback": {"blockReason": "SAFETY"}}))[1].complete


def test_of_the_usage_in_every_event_the_last_one_counts_also_if_the_stream_is_cut():
    usages = [{"promptTokenCount": 4, "candidatesTokenCount": count} for count in range(1, 6)]
    _, meter = metered(stream(*({**candidate(text("a")), "usageMetadata": usage} for usage in usages)))

    assert (meter.complete, meter.usage) == (False, Usage(prompt=4, completion=5))
    meter.feed(stream(candidate(text("no usage"))))
    assert meter.usage == Usage(prompt=4, completion=5)
    meter.feed(stream({"usageMetadata": None}, candidate(text("none"))))
    assert meter.usage == Usage(prompt=4, completion=5)


def test_an_error_in_a_relayed_stream_is_kept_back():
    first = stream(candidate(text("a")))

    out, meter = metered(first + stream({"error": ERROR}))

    assert out == first
    assert meter.failure.status == 429


def test_a_whole_response_that_is_an_error():
    assert gemini.DIALECT.whole_failure("p", {"error": ERROR}).status == 429
    assert gemini.DIALECT.whole_failure("p", candidate(text("a"))) is None
    assert gemini.DIALECT.whole_usage({"usageMetadata": {"promptTokenCount": 2}}) == Usage(prompt=2)
