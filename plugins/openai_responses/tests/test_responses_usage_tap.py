"""A stream of the Responses API as it is relayed: unchanged, except for the model's name."""

import json

import pytest

from proxy_core import ResponseContext, Usage, sse
from proxy_plugin_openai_responses.dialect.failed import whole_failure
from proxy_plugin_openai_responses.dialect.model_name import renamed
from proxy_plugin_openai_responses.dialect.usage import encode_usage, whole_usage
from proxy_plugin_openai_responses.dialect.usage_tap import ResponsesUsageTap
from proxy_plugin_openai_responses.testing import Answer, call, end, fails, hosted, reasoning, text

TRICKY = text('say "model": "gpt-5" and "response": {}')


def tap(model="openai/gpt-5"):
    context = ResponseContext(id="resp_x", model=model, stream=True, include_usage=True, created=1)
    return ResponsesUsageTap("openai", context, False)


def stream(*steps):
    return b"".join(Answer(steps, "gpt-5").stream())


def test_only_the_models_name_is_changed():
    data = stream(reasoning("Hm", encrypted="e"), TRICKY, call("f", '{"model": "gpt-5"}'), hosted("x_call"), end())
    watching = tap()
    out = watching.feed(data) + watching.close()

    before, after = ([sse.parse(raw) for raw in sse.split(d)] for d in (data, out))
    for one, other in zip(before, after, strict=True):
        one_value, other_value = json.loads(one.data), json.loads(other.data)
        if "response" in one_value:
            assert other_value["response"].pop("model") == "openai/gpt-5"
            assert one_value["response"].pop("model") == "gpt-5"
        assert other_value == one_value
    assert out.replace(b'"model": "openai/gpt-5"', b'"model": "gpt-5"') == data
    assert watching.usage == Usage(prompt=10, completion=5, cached=4, reasoning=2)
    assert (watching.committed, watching.ended, watching.complete, watching.failure) == (True, True, True, None)


def test_with_the_same_name_every_byte_stays():
    data = stream(TRICKY, end())

    assert tap("gpt-5").feed(data) == data


@pytest.mark.parametrize(
    "body",
    [
        b'{"tools":[{"parameters":{"model":"a"}}],"metadata":{"model" : "gpt"},\n"model" : "gpt" ,"x":1}',
        b'{"model":"gpt","metadata":{"model":"gpt"}}',
        b'{"text":"\\"model\\":\\"gpt\\"","model":"gpt"}',
    ],
)
def test_the_name_is_that_of_the_response_itself(body):
    event = b'event: x\ndata: {"model":"not this","response":' + body.replace(b"\n", b"\ndata:") + b"}\n\n"
    found = json.loads(sse.parse(renamed(event, 'my "own"')).data)

    assert found == {"model": "not this", "response": {**json.loads(body), "model": 'my "own"'}}
    assert renamed(event, "gpt") == event


@pytest.mark.parametrize("body", [b'{"metadata":{"model":"gpt"}}', b'{"model":null}', b"{", b'["model","gpt"]'])
def test_without_a_name_nothing_is_changed(body):
    event = b'data: {"response":' + body + b"}\n\n"

    assert renamed(event, "other") == event


def test_the_beginning_is_not_content():
    watching = tap()
    events = list(sse.split(stream(text("", "a"), end())))
    seen = []
    for raw in events:
        watching.feed(raw)
        seen.append(watching.committed)

    first = next(n for n, raw in enumerate(events) if b'"delta": "a"' in raw)
    assert seen == [False] * first + [True] * (len(events) - first)


@pytest.mark.parametrize("begins", [call("f"), hosted("web_search_call")])
def test_a_call_is_content(begins):
    watching = tap()
    watching.feed(b"".join(list(sse.split(stream(begins, end())))[:3]))

    assert watching.committed


@pytest.mark.parametrize("event", [False, True])
def test_an_error_is_held_back(event):
    before = stream(text("a"))
    watching = tap("gpt-5")
    out = watching.feed(before + stream(fails("server_error", event=event)).rpartition(b"\n\nevent")[0] + b"\n\n")
    out += watching.feed(stream(fails("server_is_overloaded", "Busy.", event=event)))

    assert out.startswith(before)
    assert b"Busy." not in out
    assert json.loads(watching.failure.body)["error"]["code"] == "server_is_overloaded"


def test_a_stream_without_its_end_is_not_complete():
    watching = tap()
    watching.feed(stream(text("a")))

    assert not watching.complete


def test_nothing_follows_the_end():
    watching = tap("gpt-5")
    data = stream(text("a"), end())

    assert watching.feed(data + stream(text("b"), end())) == data


def test_an_incomplete_response_is_no_failure():
    watching = tap()
    watching.feed(stream(text("a"), end("max_output_tokens")))

    assert watching.complete
    assert watching.failure is None


def test_whole_responses():
    good = Answer([text("a"), end()], "gpt").whole()
    bad = Answer([fails("server_error")], "gpt").whole()

    assert whole_usage(good) == Usage(prompt=10, completion=5, cached=4, reasoning=2)
    assert whole_failure("openai", good) is None
    assert json.loads(whole_failure("openai", bad).body)["error"]["code"] == "server_error"
    assert whole_failure("openai", {"error": {"message": "no", "code": 429}}).status == 429
    assert whole_failure("openai", {"hello": 1}).transport == "unreadable"
    assert encode_usage(whole_usage(good))["input_tokens_details"]["cached_tokens"] == 4
