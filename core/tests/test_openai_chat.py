"""The chat dialect through the neutral model and back."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import (
    BadRequest,
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    Citation,
    Failed,
    Finish,
    InlineData,
    Opaque,
    ProxyError,
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
from proxy_core.dialects import openai_completions
from proxy_core.dialects.common import decode_url
from proxy_core.dialects.openai_chat import OpenAIChatDecoder, OpenAIChatEncoder, decode, encode
from proxy_core.dialects.openai_chat.condense import condensed
from proxy_core.dialects.openai_chat.signatures import decode_signature
from proxy_core.testing import chunk, every_split

DONE = b"data: [DONE]\n\n"

# --- Requests ----------------------------------------------------------------------------

texts = st.text(min_size=1, max_size=10)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
extras = st.fixed_dictionaries({}, optional={"cache_control": st.just({"type": "ephemeral"})})


def with_extra(part):
    return st.builds(lambda p, e: {**p, **e}, part, extras)


text_part = with_extra(st.builds(lambda t: {"type": "text", "text": t}, texts))
image_part = with_extra(
    st.builds(
        lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
        st.sampled_from(["https://example.com/a.png", "data:image/png;base64,AAAA"]),
        st.sampled_from([{}, {"detail": "low"}]),
    )
)
audio_part = with_extra(
    st.just({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
)
file_part = with_extra(
    st.sampled_from(
        [
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ]
    )
)
vendor_part = st.just({"type": "video_url", "video_url": {"url": "https://example.com/v"}})
# One plain text part comes back as a string, which means the same; two parts keep their form.
parts = st.lists(st.one_of(text_part, image_part, audio_part, file_part, vendor_part), min_size=2, max_size=4)
content = st.one_of(texts, parts)
function_call = st.builds(
    lambda i, n, a: {"id": i, "type": "function", "function": {"name": n, "arguments": a}},
    names,
    names,
    st.sampled_from(["{}", '{"a":1}', "not json"]),
)
custom_call = st.builds(
    lambda i, n, t: {"id": i, "type": "custom", "custom": {"name": n, "input": t}}, names, names, texts
)
calls = st.lists(st.one_of(function_call, custom_call), min_size=1, max_size=2)
message = st.one_of(
    st.builds(
        lambda r, c, n: {"role": r, "content": c, **n},
        st.sampled_from(["system", "developer", "user"]),
        content,
        st.sampled_from([{}, {"name": "ann"}]),
    ),
    st.builds(lambda c: {"role": "assistant", "content": c}, texts),
    st.builds(lambda c, r: {"role": "assistant", "content": c, "reasoning_content": r}, texts, texts),
    st.builds(lambda c: {"role": "assistant", "tool_calls": c}, calls),
    st.builds(lambda t, c: {"role": "assistant", "content": t, "tool_calls": c}, texts, calls),
    st.builds(lambda t: {"role": "assistant", "content": "", "refusal": t}, texts),
    st.builds(lambda i, c: {"role": "tool", "tool_call_id": i, "content": c}, names, content),
)
schema = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
tool = st.one_of(
    st.builds(
        lambda n, s: {"type": "function", "function": {"name": n, "parameters": s, "strict": True}}, names, schema
    ),
    st.builds(lambda n: {"type": "function", "function": {"name": n, "description": "d", "x": 1}, "y": 2}, names),
    st.builds(lambda n: {"type": "custom", "custom": {"name": n}}, names),
    st.just({"type": "web_search", "filters": {}}),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 50),
        "max_completion_tokens": st.integers(1, 9999),
        "stop": st.lists(texts, min_size=1, max_size=4),
        "seed": st.integers(-(2**70), 2**70),
        "n": st.integers(1, 4),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.just({"1": -100}),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 20),
        "response_format": st.sampled_from(
            [
                {"type": "text"},
                {"type": "json_object"},
                {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
            ]
        ),
        "reasoning_effort": st.sampled_from(["none", "low", "xhigh"]),
        "verbosity": st.just("low"),
        "modalities": st.just(["text"]),
        "metadata": st.just({"a": "b"}),
        "store": st.booleans(),
        "user": texts,
        "service_tier": st.just("flex"),
        "prompt_cache_key": texts,
        "prediction": st.just({"type": "content", "content": "x"}),
        "enable_thinking": st.booleans(),
        "web_search_options": st.just({}),
    },
)
tool_fields = st.builds(
    lambda tools, choice, parallel: {"tools": tools, **choice, **parallel},
    st.lists(tool, min_size=1, max_size=3),
    st.sampled_from([{}, {"tool_choice": "auto"}, {"tool_choice": "none"}, {"tool_choice": "required"}]),
    st.sampled_from([{}, {"parallel_tool_calls": False}]),
)
bodies = st.builds(
    lambda messages, fields, tools, stream: {"model": "m", "messages": messages, **fields, **tools, **stream},
    st.lists(message, min_size=1, max_size=4),
    fields,
    st.one_of(st.just({}), tool_fields),
    st.sampled_from([{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}]),
)


@given(bodies)
def test_a_request_survives_the_neutral_model(body):
    assert encode(decode(body)) == body


@given(bodies)
def test_the_neutral_model_survives_a_request(body):
    chat = decode(body)

    assert decode(encode(chat)) == chat


CHOICES = [
    {"type": "function", "function": {"name": "f"}},
    {"type": "custom", "custom": {"name": "c"}},
    {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}],
        },
    },
    {"type": "web_search"},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_tool_choice_survives(choice):
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}

    assert encode(decode(body))["tool_choice"] == choice


def test_an_image_may_be_its_url_alone():
    def image(found):
        content = [{"type": "image_url", "image_url": found}]
        return decode({"model": "m", "messages": [{"role": "user", "content": content}]}).messages[0].parts

    assert image("data:image/png;base64,aGk=") == image({"url": "data:image/png;base64,aGk="})


def test_deprecated_functions_become_tools():
    call = {"name": "f", "arguments": "{}"}
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "f", "content": "done"},
        ],
        "functions": [{"name": "f", "parameters": {}}],
        "function_call": {"name": "f"},
    }

    sent = encode(decode(body))

    assert sent["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert sent["messages"][1]["tool_calls"] == [{"id": "f", "type": "function", "function": call}]
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "f", "name": "f", "content": "done"}


def test_max_tokens_is_the_older_name():
    base = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    assert encode(decode({**base, "max_tokens": 5}))["max_completion_tokens"] == 5
    assert encode(decode({**base, "max_tokens": 5, "max_completion_tokens": 7}))["max_completion_tokens"] == 7


MISTAKES = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"n": "1"}, "n"),
    ({"stop": [1]}, "stop[0]"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"tools": {}}, "tools"),
    ({"tools": ["x"]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"user": 3}, "user"),
    ({"logit_bias": []}, "logit_bias"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "messages[0].tool_calls[0].function"),
]


@pytest.mark.parametrize(("change", "param"), MISTAKES)
def test_a_mistake_is_reported_by_its_field(change, param):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **change}

    with pytest.raises(BadRequest) as refused:
        decode(body)

    assert refused.value.param == param


# --- Replies to events -------------------------------------------------------------------


def read(*reads, streaming=True):
    decoder = OpenAIChatDecoder(streaming)
    events = [event for data in reads for event in decoder.feed(data)]
    return [*events, *decoder.close()]


def call_delta(index, *, id=None, name=None, arguments=""):
    call = {"index": index, "function": {**({"name": name} if name else {}), "arguments": arguments}}
    return chunk({"tool_calls": [{**call, **({"id": id, "type": "function"} if id else {})}]})


WORKED = [
    chunk({"role": "assistant", "reasoning_content": "Hm"}),
    chunk({"content": "Ok"}),
    call_delta(0, id="c1", name="f", arguments='{"a":'),
    call_delta(1, id="c2", name="g", arguments="{}"),
    call_delta(0, arguments="1}"),
    chunk({}, finish="tool_calls"),
    chunk(usage={"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}),
    DONE,
]


def test_the_worked_example_reads_as_written():
    events = read(*WORKED)

    assert events[0] == Start(id="chatcmpl-up", model="small", created=1_700_000_000)
    assert events[1:-1] == [
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
    ]
    assert (events[-1].usage.prompt, events[-1].usage.cached, events[-1].usage.completion) == (10, 4, 5)


def test_any_split_gives_the_same_events():
    stream = b"".join(WORKED)
    whole = read(stream)

    for first, second in every_split(stream):
        assert read(first, second) == whole


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_spellings(field):
    assert ReasoningDelta(text="hm") in read(chunk({field: "hm"}), DONE)


def test_a_new_id_on_a_used_index_is_a_new_call():
    events = read(call_delta(0, id="a", name="f", arguments="1"), call_delta(0, id="b", name="g", arguments="2"), DONE)

    assert [e.id for e in events if isinstance(e, CallStart)] == ["a", "b"]
    assert [(e.call, e.arguments) for e in events if isinstance(e, CallDelta)] == [(0, "1"), (1, "2")]


def test_the_same_id_on_another_index_is_the_same_call():
    events = read(call_delta(0, id="a", name="f", arguments="1"), call_delta(3, id="a", arguments="2"), DONE)

    assert [(e.call, e.arguments) for e in events if isinstance(e, CallDelta)] == [(0, "1"), (0, "2")]


def test_a_missing_call_id_is_made():
    (start,) = [e for e in read(call_delta(0, name="f"), DONE) if isinstance(e, CallStart)]

    assert start.id.startswith("call_")


def bare_call(name, arguments):
    return chunk({"tool_calls": [{"function": {"name": name, "arguments": arguments}}]})


@pytest.mark.parametrize("whole", ['{"city":"Oslo"}', {"city": "Oslo"}])
@pytest.mark.parametrize("second", ["clock", "weather"])
def test_calls_with_neither_an_id_nor_an_index_are_told_apart_by_complete_arguments(whole, second):
    events = read(bare_call("weather", whole), bare_call(second, whole), DONE)

    starts = [e for e in events if isinstance(e, CallStart)]
    assert [e.name for e in starts] == ["weather", second]
    assert len({e.id for e in starts}) == 2
    assert [(e.call, e.arguments) for e in events if isinstance(e, CallDelta)] == [
        (0, '{"city":"Oslo"}'),
        (1, '{"city":"Oslo"}'),
    ]


@pytest.mark.parametrize(
    "pieces", [["", '{"city":', '"Oslo"}'], ['{"city":', '"Oslo"}', ""], ["{", '"city":', '"Oslo"}', ""]]
)
def test_a_call_without_an_id_whose_name_is_repeated_is_one_call(pieces):
    events = read(*(call_delta(0, name="weather", arguments=piece) for piece in pieces), DONE)

    assert [e.name for e in events if isinstance(e, CallStart)] == ["weather"]
    assert "".join(e.arguments for e in events if isinstance(e, CallDelta)) == '{"city":"Oslo"}'


def test_a_call_without_arguments_begins_after_one_without_an_id():
    events = read(bare_call("weather", '{"city":"Oslo"}'), bare_call("clock", ""), DONE)

    assert [e.name for e in events if isinstance(e, CallStart)] == ["weather", "clock"]


def test_a_call_without_a_name_is_the_upstreams_fault():
    with pytest.raises(UpstreamBroken):
        read(call_delta(0, id="a", arguments="1"), DONE)


def test_an_end_without_a_finish_is_a_cut():
    with pytest.raises(StreamCut):
        read(chunk({"content": "x"}))
    assert read(chunk({"content": "x"}), chunk({}, finish="stop"))[-1] == Finish(reason="stop")


def test_an_error_in_the_stream_ends_it():
    events = read(chunk({"content": "x"}), b'data: {"error":{"message":"no","code":503}}\n\n', chunk({"content": "y"}))

    assert events[-1] == Failed(message="no", status=503)


def test_what_only_this_dialect_knows_is_carried():
    events = read(chunk({"content": "x", "vendor": 1}, system_fingerprint="fp", service_tier="flex"), DONE)

    assert events[0].extra == {"system_fingerprint": "fp", "service_tier": "flex"}
    assert Carried(dialect="openai_chat", payload={"delta": {"vendor": 1}}) in events


# --- Events to replies -------------------------------------------------------------------


def context(stream, include_usage=False):
    return ResponseContext(id="chatcmpl-1", model="p/m", stream=stream, include_usage=include_usage, created=7)


def write(events, stream=True, include_usage=False):
    encoder = OpenAIChatEncoder(context(stream, include_usage))
    data = encoder.feed(events) + encoder.close()
    if not stream:
        return json.loads(data)
    found = list(sse.events(data))
    assert found[-1].data == b"[DONE]"
    return [json.loads(event.data) for event in found[:-1]]


def deltas(chunks):
    return [choice["delta"] for c in chunks for choice in c["choices"]]


def test_the_role_comes_once_and_first():
    found = deltas(write([Start(), TextDelta(text="a"), TextDelta(text="b"), Finish(reason="stop")]))

    assert found == [{"role": "assistant", "content": "a"}, {"content": "b"}, {}]


def test_an_empty_answer_is_a_legal_answer():
    assert deltas(write([Start(), Finish(reason="stop")])) == [{"role": "assistant", "content": ""}, {}]
    assert write([Start(), Finish(reason="stop")], stream=False)["choices"][0]["message"]["content"] == ""


def test_id_and_name_of_a_call_come_once():
    events = [CallStart(call=0, id="c", name="f"), CallDelta(call=0, arguments="{"), CallDelta(call=0, arguments="}")]
    calls = [
        d["tool_calls"][0]
        for d in deltas(write([*events, CallEnd(call=0), Finish(reason="tool_calls")]))
        if d.get("tool_calls")
    ]

    assert calls[0] == {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert calls[1:] == [{"index": 0, "function": {"arguments": a}} for a in ("{", "}")]


def test_empty_arguments_become_an_empty_object():
    events = [CallStart(call=0, id="c", name="f"), CallEnd(call=0), Finish(reason="tool_calls")]

    assert write(events, stream=False)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


FINISHES = [
    ([TextDelta(text="x")], "stop", "stop"),
    ([TextDelta(text="x")], "tool_calls", "stop"),
    ([CallStart(call=0, id="c", name="f")], "stop", "tool_calls"),
    ([CallStart(call=0, id="c", name="f")], "length", "length"),
    ([TextDelta(text="x")], "content_filter", "content_filter"),
    ([RefusalDelta(text="no")], "refusal", "stop"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("events", "reason", "word"), FINISHES)
def test_the_finish_follows_what_was_really_sent(events, reason, word, stream):
    reply = write([*events, Finish(reason=reason)], stream=stream)

    last = reply[-1] if stream else reply
    assert last["choices"][0]["finish_reason"] == word


def test_usage_comes_only_when_asked_for():
    events = [TextDelta(text="x"), Finish(reason="stop"), UsageReport(usage=Usage(prompt=3, completion=2))]

    asked, unasked = write(events, include_usage=True), write(events)

    assert asked[-1]["usage"]["total_tokens"] == 5
    assert asked[-1]["choices"] == []
    assert all(c["usage"] is None for c in asked[:-1])
    assert all("usage" not in c and c["choices"] for c in unasked)


def test_content_is_null_only_beside_calls():
    message = write([CallStart(call=0, id="c", name="f")], stream=False)["choices"][0]["message"]

    assert message["content"] is None
    assert "tool_calls" not in write([TextDelta(text="x")], stream=False)["choices"][0]["message"]


def test_foreign_notes_are_left_out():
    events = [Citation(dialect="gemini", payload={"x": 1}), Carried(dialect="gemini", payload={"y": 1})]

    assert deltas(write([*events, TextDelta(text="x")])) == [{"role": "assistant", "content": "x"}, {}]


@pytest.mark.parametrize(
    ("maker", "carried"),
    [
        ("example", {"extra_content": {"example": {"thought_signature": "s"}}}),
        ("", {"thought_signature": "s"}),
    ],
)
def test_a_signature_rides_under_the_name_of_its_maker(maker, carried):
    opaque = Opaque(maker=maker, payload="s")
    signature = ReasoningDelta(text="", opaque=opaque)

    assert deltas(write([signature])) == [{"role": "assistant", "content": "", **carried}, {}]
    assert decode_signature(carried) == opaque
    assert decode_signature({"extra_content": {"example": {"other": 1}, "none": None}}) is None


reply_events = st.lists(
    st.one_of(
        st.builds(TextDelta, text=texts, choice=st.integers(0, 1)),
        st.builds(ReasoningDelta, text=texts),
        st.builds(RefusalDelta, text=texts),
        st.builds(lambda p: Citation(dialect="openai_chat", payload={"type": p}), texts),
    ),
    max_size=6,
)


@given(reply_events, st.lists(st.tuples(names, st.lists(texts, max_size=3)), max_size=3))
def test_streamed_and_whole_responses_assemble_to_the_same(events, made):
    for number, (name, arguments) in enumerate(made):
        events = [*events, CallStart(call=number, id=f"c{number}", name=name)]
        events += [CallDelta(call=number, arguments=a) for a in arguments]
        events.append(CallEnd(call=number))
    events += [Finish(reason="stop"), UsageReport(usage=Usage(prompt=1, completion=2, reasoning=1))]
    encoder = OpenAIChatEncoder(context(True, True))
    stream = encoder.feed([Start(), *events]) + encoder.close()

    rebuilt = OpenAIChatEncoder(context(False))
    rebuilt.feed(read(stream))

    assert json.loads(rebuilt.close())["choices"] == write([Start(), *events], stream=False)["choices"]


# --- Condensing --------------------------------------------------------------------------

said = st.one_of(
    st.fixed_dictionaries({"content": st.sampled_from(["a", "é", "", "\ud83d", "\ude00", '"\\\n'])}),
    st.fixed_dictionaries({"reasoning_content": st.just("r"), "role": st.just("assistant")}),
    st.fixed_dictionaries({"content": st.none() | st.just("x"), "refusal": st.none() | st.just("no")}),
    st.fixed_dictionaries(
        {"tool_calls": st.just([{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}])}
    ),
    st.just({}),
)
streamed = st.builds(
    lambda index, delta, finish, more: {
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    },
    st.integers(0, 1),
    said,
    st.sampled_from([None, None, None, "stop"]),
    st.sampled_from([{}, {}, {"usage": {"prompt_tokens": 3}}, {"obfuscation": "xyz"}, {"usage": None}]),
)


@given(st.lists(streamed, max_size=12), st.sampled_from([b"data: [DONE]\n\n", b"", b"data: {", b": beat\n\n"]))
def test_a_condensed_stream_amounts_to_the_same(chunks, tail):
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + tail

    def whole(data):
        decoder = OpenAIChatDecoder(True)
        encoder = OpenAIChatEncoder(ResponseContext(id="r", model="m", stream=False, include_usage=True, created=1))
        with contextlib.suppress(ProxyError):
            encoder.feed(decoder.feed(data))
            encoder.feed(decoder.close())
        return json.loads(encoder.close())

    assert whole(condensed(stream)) == whole(stream)


@given(st.lists(st.text(alphabet='a"\\\n\u00e9{}', max_size=4), min_size=1), st.sampled_from(["content", "refusal"]))
def test_chunks_that_differ_in_a_text_become_one_with_all_of_it(texts, kind):
    stream = b"".join(chunk({kind: text}) for text in texts) + chunk({}, finish="stop") + b"data: [DONE]\n\n"

    first, *_ = condensed(stream).split(b"\n\n")

    assert json.loads(first.removeprefix(b"data: "))["choices"][0]["delta"][kind] == "".join(texts)


def test_a_thought_after_a_text_stays_a_thought():
    parts = [chunk(delta) for delta in [{"content": ""}, {"reasoning_content": "a"}, {"content": "b"}] * 2]
    stream = b"".join([*parts, chunk({}, finish="stop"), b"data: [DONE]\n\n"])

    texts = [json.loads(event)["choices"][0]["delta"] for event in condensed(stream).split(b"\n\ndata: ")[1:5]]

    assert texts == [{"reasoning_content": "a"}, {"content": "b"}, {"reasoning_content": "a"}, {"content": "b"}]


def test_a_member_after_a_text_is_not_taken_for_its_end():
    parts = [chunk({"content": "a"}), chunk({"content": "b"}), chunk({"content": "c", "role": "assistant"})]
    stream = b"".join([*parts, chunk({"content": "d"}), chunk({}, finish="stop"), b"data: [DONE]\n\n"])

    events = [json.loads(event) for event in condensed(stream).replace(b"data: ", b"").split(b"\n\n")[:-2]]

    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "abcd"


def test_a_text_that_ends_with_a_backslash_is_joined_too():
    parts = [chunk({"content": text}) for text in ("a", "b", "\\", '"', "c")]
    stream = b"".join([*parts, chunk({}, finish="stop"), b"data: [DONE]\n\n"])

    assert condensed(stream).count(b"data: ") == 3
    assert json.loads(condensed(stream).split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]["delta"] == {
        "content": 'ab\\"c'
    }


def test_hundreds_of_chunks_become_a_few():
    parts = [chunk({"content": "word "}) for _ in range(300)]
    stream = b"".join([chunk({"role": "assistant"}), *parts, chunk({}, finish="stop"), b"data: [DONE]\n\n"])

    assert condensed(stream).count(b"data: ") == 4


@pytest.mark.parametrize(
    "odd", [b"data: {}\r\n\r\n", b"event: x\ndata: {}\n\n", b"data: nonsense\n\n", b"data: {]\n\n"]
)
def test_a_stream_that_is_not_plain_lines_is_left_alone(odd):
    stream = chunk({"content": "a"}) + odd + chunk({"content": "b"})

    assert condensed(stream) == stream


def test_audio_that_the_model_said_before_is_restored():
    said = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}, said]}

    assert encode(decode(body))["messages"][1] == {"role": "assistant", "content": "", "audio": {"id": "audio_1"}}


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        ("image/svg+xml;utf8", "image/svg+xml"),
        ("image/svg+xml;charset=utf-8", "image/svg+xml;charset=utf-8"),
        ("image/svg+xml;utf8;base64", "image/svg+xml"),
        ("", "text/plain"),
        (";charset=utf-8", "text/plain;charset=utf-8"),
    ],
)
def test_the_media_type_of_a_data_url(head, media_type):
    url = f"data:{head},{'PHN2Zz4=' if head.endswith('base64') else '%3Csvg%3E'}"

    assert decode_url(url) == InlineData(media_type=media_type, data="PHN2Zz4=")


def test_a_completions_client_reads_its_own_fields_names():
    long = UpstreamRejected("Too long.", status=400, param="messages", code="context_length_exceeded")

    for body in (
        openai_completions.DIALECT.encode_error(long, "id").body,
        openai_completions.DIALECT.stream_error(long, "id").removeprefix(b"data: "),
    ):
        assert json.loads(body)["error"]["param"] == "prompt"


# --- Legacy completions, read for a filter -------------------------------------------------


def completion(text, finish=None, index=0, **more):
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "choices": [{"text": text, "index": index, "logprobs": {"tokens": []}, "finish_reason": finish}],
        **more,
    }


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_native_completion_is_read_as_texts_and_ends(size):
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    sent = [
        completion("hel"),
        completion("lo", index=1),
        completion("", "length"),
        completion("", "stop", 1, usage=usage),
    ]
    data = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in sent) + b"data: [DONE]\n\n"
    decoder = openai_completions.DIALECT.decoder(True)
    events = [e for at in range(0, len(data), size) for e in decoder.feed(data[at : at + size])] + list(decoder.close())

    assert [(e.text, e.choice) for e in events if isinstance(e, TextDelta)] == [("hel", 0), ("lo", 1)]
    assert [(e.reason, e.choice) for e in events if isinstance(e, Finish)] == [("length", 0), ("stop", 1)]
    assert [(e.usage.prompt, e.usage.completion) for e in events if isinstance(e, UsageReport)] == [(3, 2)]
    assert not [e for e in events if isinstance(e, Carried)]


def test_a_whole_native_completion_is_read_too_and_what_is_none_is_an_error():
    whole = openai_completions.DIALECT.decoder(False)
    whole.feed(json.dumps(completion("hello", "stop")).encode())
    assert [e.text for e in whole.close() if isinstance(e, TextDelta)] == ["hello"]

    other = openai_completions.DIALECT.decoder(False)
    other.feed(b'{"object": "list"}')
    with pytest.raises(UpstreamBroken, match="is not a completion"):
        other.close()

    cut = openai_completions.DIALECT.decoder(True)
    cut.feed(b"data: %s\n\n" % json.dumps(completion("hel")).encode())
    with pytest.raises(StreamCut):
        cut.close()
