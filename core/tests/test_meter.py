"""The meter of a relayed stream: it sees usage, ends and errors, and changes nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import ResponseContext
from proxy_core.dialects.openai_chat import OpenAIUsageTap
from proxy_core.testing import chunk

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
DONE = b"data: [DONE]\n\n"


def meter(strip=True, choices=1):
    context = ResponseContext(
        id="x", model="small", stream=True, include_usage=not strip, created=0, expected_choices=choices
    )
    return OpenAIUsageTap("demo", context, strip)


ODD_USAGE = [
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n',
    b'data:{ "usage" :\t{"prompt_tokens" : 7,"completion_tokens":3} , "choices" : [ ] }\n\n',
    b'data: {"choices":[],"usage"\ndata: :\ndata: {"prompt_tokens":7,"completion_tokens":3}}\n\n',
    b'data: {"choices":[],"usage":\r\ndata: {"prompt_tokens":7,"completion_tokens":3}}\r\n\r\n',
]


@pytest.mark.parametrize("event", ODD_USAGE)
def test_usage_is_found_in_any_spacing_and_taken_out(event):
    watching = meter()

    assert watching.feed(chunk({"content": "a"}) + event + DONE) == chunk({"content": "a"}) + DONE
    assert (watching.usage.prompt, watching.usage.completion) == (7, 3)


def test_usage_that_was_asked_for_stays():
    watching = meter(strip=False)

    assert watching.feed(chunk(usage=USAGE)) == chunk(usage=USAGE)
    assert watching.usage.cached == 4


def test_null_usage_is_no_usage():
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"usage":null}\n\n'
    watching = meter()

    assert watching.feed(event * 3) == event * 3
    assert watching.usage is None


def test_an_event_with_empty_choices_but_no_usage_stays():
    event = b'data: {"choices":[],"prompt_filter_results":[],"usage":null}\n\n'

    assert meter().feed(event) == event


def test_the_last_usage_counts():
    watching = meter()
    watching.feed(chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1}))
    watching.feed(chunk({"content": "b"}, usage={"prompt_tokens": 1, "completion_tokens": 2}))

    assert watching.usage.completion == 2


@pytest.mark.parametrize("end", [DONE, b"data:[DONE]\n\n", chunk({}, finish="stop"), chunk({}, finish="length")])
def test_an_end_is_seen(end):
    watching = meter()
    watching.feed(chunk({"content": "a"}))
    assert not watching.complete

    watching.feed(end)

    assert watching.complete


def test_every_choice_has_to_finish():
    watching = meter(choices=2)
    for index in (0, 0, 1):
        assert not watching.complete
        watching.feed(chunk({}, finish="stop").replace(b'"index": 0', b'"index": %d' % index))

    assert watching.complete


def test_an_error_event_is_kept_from_the_client():
    watching = meter()
    error = b'data: {"error":{"message":"no","code":"429"}}\n\n'

    assert watching.feed(chunk({"content": "a"}) + error + DONE) == chunk({"content": "a"})
    assert watching.failure.status == 429
    assert json.loads(watching.failure.body)["error"]["message"] == "no"


@pytest.mark.parametrize("error", [b"null", b'""', b"{}", b"false"])
def test_an_error_member_that_says_nothing_is_no_error(error):
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"error":%s}\n\n' % error
    watching = meter()

    assert watching.feed(event) == event
    assert watching.failure is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["usage", "error", "[DONE]", "data: [DONE]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.text(), json_values), max_size=5), st.booleans())
def test_ordinary_events_pass_untouched_whatever_they_say(contents, spaced):
    separators = (", ", ": ") if spaced else (",", ":")
    block = b"".join(
        b"data: "
        + json.dumps(
            {"choices": [{"index": 0, "delta": {"content": text, "extra": value}, "finish_reason": None}]},
            separators=separators,
        ).encode()
        + b"\n\n"
        for text, value in contents
    )
    watching = meter()

    assert watching.feed(block) == block
    assert watching.failure is None
    assert not watching.complete


#: What may stand in a text, or between events, and looks like something else.
texts = st.lists(
    st.sampled_from(
        ['"', "\\", "\n", "[DONE]", "data: [DONE]", '","model":"m",', '"content":"', "usage", "é", " word"]
    ),
    max_size=4,
).map("".join)
fields = st.sampled_from(["content", "reasoning_content", "text", "refusal"])
between = st.sampled_from(
    [
        b": ping\n\n",
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: not JSON "content":"\n\n',
        b"event: ping\ndata: {}\n\n",
    ]
)


def spoken(text, field, model, crlf):
    body = {"id": "x", "model": model, "choices": [{"index": 0, "delta": {field: text}, "finish_reason": None}]}
    event = b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
    return event.replace(b"\n", b"\r\n") if crlf else event


@given(
    st.lists(st.one_of(st.tuples(texts, fields), between), max_size=12),
    st.lists(st.integers(0, 12), max_size=4).map(sorted),
    st.booleans(),
)
def test_events_that_differ_in_their_text_are_named_like_all_others(drawn, cuts, crlf):
    def events(model):
        return [e if isinstance(e, bytes) else spoken(*e, model, crlf) for e in [("first", "content"), *drawn]]

    given, expected = events("m"), events("small")
    watching = meter()
    blocks = [b"".join(given[start:end]) for start, end in zip([0, *cuts], [*cuts, len(given)], strict=True)]

    assert b"".join(map(watching.feed, filter(None, blocks))) == b"".join(expected)
    assert watching.failure is None
    assert not watching.complete


@pytest.mark.parametrize("last", [DONE, chunk({}, finish="stop"), b'data: {"error":{"message":"no"}}\n\n'])
@pytest.mark.parametrize(
    "broken", [b"", b'data: {"choices":[{"delta":{"content":"a\n\n', b'data: {"x":"content":"a"}\n\n']
)
def test_a_mark_after_alike_events_is_seen(last, broken):
    watching = meter()
    alike = chunk({"content": "a"}) + chunk({"content": "b"}) * 3 + broken

    out = watching.feed(alike + last)

    assert out.startswith(alike)
    assert watching.complete or watching.failure is not None
