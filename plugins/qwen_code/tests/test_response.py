"""The oddities of streams (qwen-code.md section 9), and what the client sees of them."""

import json

import pytest

from proxy_core import (
    CallStart,
    Failed,
    Finish,
    ReasoningDelta,
    ResponseContext,
    StreamCut,
    TextDelta,
    UpstreamBroken,
    UsageReport,
    sse,
)
from proxy_core.dialects.openai_chat import OpenAIChatEncoder
from proxy_core.testing import every_split
from proxy_plugin_qwen_code.response import QwenDecoder
from proxy_plugin_qwen_code.testing import PAGE
from proxy_plugin_qwen_code.texts import Snapshots, ThinkTags
from proxy_plugin_qwen_code.tools import DUMMY_NAME

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def says(delta=None, finish=None, **more):
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}] if delta is not None or finish else []
    return sse.encode(json.dumps({"id": "c", "model": "m", "choices": choices, **more}).encode())


def call(arguments="", *, index=0, id=None, name=None):
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


def events(*blocks, **more):
    decoder = QwenDecoder(**more)
    found = list(decoder.feed(b"".join(blocks)))
    return [*found, *decoder.close()]


def whole(*blocks, **more):
    """The whole response."""
    context = ResponseContext(id="c", model="m", stream=False, include_usage=True, created=0)
    encoder = OpenAIChatEncoder(context)
    encoder.feed(events(*blocks, **more))
    response = json.loads(encoder.close())
    return {
        **response["choices"][0]["message"],
        "finish": response["choices"][0]["finish_reason"],
        "usage": response.get("usage"),
    }


def test_finish_and_usage_come_in_either_order_and_go_last():
    for ends in ([says({}, "stop"), says(usage=USAGE)], [says(usage=USAGE), says({}, "stop")]):
        found = events(says({"content": "a"}), *ends, DONE)

        assert [type(event) for event in found[-2:]] == [Finish, UsageReport]


def test_usage_on_every_chunk_is_not_added():
    found = events(says({"content": "a"}, usage={**USAGE, "completion_tokens": 1}), says({}, "stop", usage=USAGE), DONE)

    assert [event.usage.completion for event in found if isinstance(event, UsageReport)] == [2]


def test_cached_tokens_are_read_from_both_places():
    details = {"prompt_tokens_details": {"cached_tokens": 3}}
    for usage, cached in (({**USAGE, "cached_tokens": 4}, 4), ({**USAGE, **details, "cached_tokens": 4}, 3)):
        (report,) = [e for e in events(says({}, "stop", usage=usage), DONE) if isinstance(e, UsageReport)]

        assert report.usage.cached == cached


@pytest.mark.parametrize(
    ("text", "code"),
    [("Throttling.RateQuota: slow down", "Throttling.RateQuota"), ("something else", "error_finish")],
)
def test_an_error_in_place_of_the_answer_is_an_error(text, code):
    (failed,) = events(says({"content": text}, "error_finish"), DONE)

    assert (failed.message, failed.code) == (text, code)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "no", "code": "x"}}, "no", "x"),
        ({"error": "only for agents"}, "only for agents", None),
        ({"code": "Throttling", "message": "slow", "request_id": "1"}, "slow", "Throttling"),
    ],
)
def test_errors_inside_a_stream_and_instead_of_one(body, message, code):
    for response in (sse.encode(json.dumps(body).encode()), json.dumps(body).encode()):
        (failed,) = events(response)

        assert (failed.message, failed.code) == (message, code)


def test_a_firewall_page_is_a_failure_whose_text_is_not_passed_on():
    (failed,) = events(PAGE)

    assert isinstance(failed, Failed)
    assert "aliyun" not in failed.message


def test_no_finish_reason_is_written_in_several_ways():
    assert whole(says({"content": "a"}, ""), says({"content": "b"}), says({}, "stop"), DONE)["content"] == "ab"


def test_stop_with_tool_calls_is_their_finish():
    got = whole(says(call('{"a":1}', id="1", name="f")), says({}, "stop"), DONE)

    assert got["finish"] == "tool_calls"
    assert got["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_reasoning_goes_before_text_under_either_name():
    for name in ("reasoning", "reasoning_content"):
        found = events(says({name: "hm", "content": "a"}), says({}, "stop"), DONE)

        assert [type(e) for e in found[1:3]] == [ReasoningDelta, TextDelta]
    both = whole(says({"reasoning": "hm", "reasoning_content": "hm", "content": None}), says({}, "stop"), DONE)
    assert both["reasoning_content"] == "hm"


def test_leaked_tags_are_reasoning_however_they_are_cut():
    text = "<think>hm</think>answer with </think>"
    for at in range(len(text) + 1):
        got = whole(says({"content": text[:at]}), says({"content": text[at:]}), says({}, "stop"), DONE)

        assert (got["reasoning_content"], got["content"]) == ("hm", "answer with </think>"), at


def test_tags_stay_if_reasoning_has_its_own_field_or_settings_say_so():
    text = {"content": "<think>a</think>b"}

    assert whole(says({"reasoning_content": "x"}), says(text), says({}, "stop"), DONE)["content"] == text["content"]
    assert whole(says(text), says({}, "stop"), DONE, think_tags=False)["content"] == text["content"]


@pytest.mark.parametrize(
    ("deltas", "text"),
    [
        (["He", "Hello", "Hello wor", "Hello world"], "Hello world"),
        (["a", "ab", "ba"], "aabba"),
        (["a", "a", "a"], "aaa"),
        (["a", "ab"], "aab"),
        (["x", "y", "xy", "xyz"], "xyxyxyz"),
    ],
)
def test_repeated_text_is_recognised_after_two_deltas(deltas, text):
    found = Snapshots()

    assert "".join(map(found.feed, deltas)) + found.close() == text
    assert whole(*(says({"content": d}) for d in deltas), says({}, "stop"), DONE)["content"] == text


def test_an_index_used_again_is_another_call():
    first, second = call("{}", id="1", name="f"), call("{}", id="2", name="g")

    got = whole(says(first), says(second), says({}, "tool_calls"), DONE)

    assert [(c["id"], c["function"]["name"]) for c in got["tool_calls"]] == [("1", "f"), ("2", "g")]


def test_an_id_may_come_late_or_never():
    late = whole(says(call('{"a":', name="f")), says(call("1}", id="7")), says({}, "tool_calls"), DONE)
    never = whole(says(call('{"a":1}', name="f")), says({}, "tool_calls"), DONE)
    nameless = whole(says(call('{"a":', id="9")), says(call("1}", name="f")), says({}, "tool_calls"), DONE)

    for got in (late, never, nameless):
        (one,) = got["tool_calls"]
        assert one["id"].startswith("call_") or one["id"] == "9"
        assert one["function"] == {"name": "f", "arguments": '{"a":1}'}


def test_a_call_repeated_at_the_end_is_emitted_once():
    pieces = says(call('{"a":', id="1", name="f")), says(call("1}", id="1")), says(call('{"a":1}', id="1", name="f"))

    got = whole(*pieces, says({}, "tool_calls"), DONE)

    assert got["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


def test_a_call_without_arguments_has_empty_ones():
    assert whole(says(call(id="1", name="f")), says({}, "stop"), DONE)["tool_calls"][0]["function"]["arguments"] == "{}"


def test_arguments_that_break_off_are_a_length():
    assert whole(says(call('{"a":', id="1", name="f")), says({}, "stop"), DONE)["finish"] == "length"


def test_the_dummy_tool_never_appears_as_a_call():
    got = whole(says({"content": "a"}), says(call("{}", id="1", name=DUMMY_NAME)), says({}, "tool_calls"), DONE)

    assert (got["content"], got["finish"], "tool_calls" in got) == ("a", "stop", False)
    assert not [e for e in events(says(call("{}", id="1", name=DUMMY_NAME)), DONE) if isinstance(e, CallStart)]


def test_an_unmarked_end_is_a_cut_unless_nothing_can_be_missing():
    with pytest.raises(StreamCut):
        events(says({"content": "a"}))
    with pytest.raises(StreamCut):
        events(says(call("{}", id="1", name="f")))
    assert whole(says(call("{}", id="1", name="f")), says(usage=USAGE))["finish"] == "tool_calls"
    assert whole(says({"content": "a"}, "stop"))["finish"] == "stop"


def test_lines_and_a_whole_response_on_a_stream_request():
    lines = b'{"choices":[{"delta":{"content":"a"}}]}\n{"choices":[{"delta":{},"finish_reason":"stop"}]}\n[DONE]\n'
    response = {"choices": [{"message": {"content": "a", **call("{}", id="1", name="f")}, "finish_reason": "stop"}]}

    assert whole(lines)["content"] == "a"
    assert whole(json.dumps(response).encode())["finish"] == "tool_calls"
    for other in (b"{}", b"[]", b"{", b'{"a":1}\n{'):
        with pytest.raises(UpstreamBroken):
            events(other)


def test_comments_line_ends_and_missing_spaces_are_legal():
    stream = b'\xef\xbb\xbf: keep-alive\r\n\r\ndata:{"choices":[{"delta":{"content":"a"}}]}\r\n\r\ndata:[DONE]\r\n\r\n'

    assert whole(stream)["content"] == "a"


def test_any_cut_of_a_stream_gives_the_same():
    stream = says({"content": "<think>h</think>é"}) + says(call("{}", id="1", name="f")) + says({}, "stop") + DONE
    expected = events(stream)

    for first, second in every_split(stream):
        decoder = QwenDecoder()
        assert [*decoder.feed(first), *decoder.feed(second), *decoder.close()] == expected


def test_an_unfinished_tag_is_text_or_thought():
    before, inside = ThinkTags(), ThinkTags()

    assert (before.feed("<thi"), before.close()) == (("", ""), ("", "<thi"))
    assert (inside.feed("<think>a</th"), inside.close()) == (("a", ""), ("</th", ""))
