"""Text filters: every split of a text gives what ``re.sub`` makes of the whole."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proxy_core
from proxy_core import CallDelta, Finish, ReasoningDelta, RefusalDelta, TextDelta, TextFilter
from proxy_core.testing import plugin_with

CASES = {
    "a word": (r"darn", "d***", 4),
    "one of several, of which one begins another": (r"ab|abcd|cab", "<>", 4),
    "a word by itself": (r"(?<![a-d])ab(?![a-d])", "_", 3),
    "groups": (r"(a+)b", r"[\1]", 6),
    "one character": (r"c", "", 1),
}


def texts(events):
    return "".join(event.text for event in events)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@given(pieces=st.lists(st.text("abcdarn ", max_size=6), max_size=8))
def test_any_split_gives_what_the_whole_text_would(case, pieces):
    pattern, new, hold = case
    pieces = [re.sub("aaaaa+", "aaaa", piece) for piece in pieces]
    whole = "".join(pieces)
    if max((len(m[0]) for m in re.finditer(pattern, whole)), default=0) > hold:
        return
    filter_ = TextFilter(pattern, new, hold=hold)

    out = [event for piece in pieces for event in filter_.feed(TextDelta(text=piece))]

    assert texts([*out, *filter_.close()]) == re.sub(pattern, new, whole)


def test_only_what_may_begin_a_match_waits():
    filter_ = TextFilter("darn", lambda match: match[0].upper(), hold=4)

    assert texts(filter_.feed(TextDelta(text="oh da"))) == "oh"
    assert texts(filter_.feed(TextDelta(text="rn it"))) == " DARN"
    assert texts(filter_.close()) == " it"
    assert filter_.close() == []


def test_held_text_comes_before_what_follows_it():
    filter_ = TextFilter("secret", "-", hold=6)
    events = [
        ReasoningDelta(text="a secr"),
        ReasoningDelta(text="et", opaque=None),
        TextDelta(text="the sec"),
        TextDelta(text="ret", choice=1),
        CallDelta(call=0, arguments="secret"),
        RefusalDelta(text="no secret"),
        Finish(reason="stop"),
    ]

    out = [event for given in events for event in filter_.feed(given)]

    assert texts(event for event in out if isinstance(event, ReasoningDelta)) == "a -"
    assert texts(event for event in out if isinstance(event, TextDelta) and event.choice == 0) == "the sec"
    assert texts(event for event in out if isinstance(event, TextDelta) and event.choice == 1) == "ret"
    assert texts(event for event in out if isinstance(event, RefusalDelta)) == "no -"
    kinds = [type(event) for event in out]
    assert kinds.index(CallDelta) > max(at for at, kind in enumerate(kinds) if kind is TextDelta)
    assert out[-1] == Finish(reason="stop")


@pytest.mark.parametrize(("pattern", "hold"), [("a*", 3), ("", 1), ("a", 0)])
def test_a_filter_that_would_match_nothing_is_refused(pattern, hold):
    with pytest.raises(ValueError, match="hold"):
        TextFilter(pattern, "x", hold=hold)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_client_gets_the_filtered_text(make_proxy, upstream, stream):
    polite = proxy_core.Sanitizer(name="polite", events=lambda request: TextFilter("darn", "d***", hold=4))
    demo = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}
    proxy = await make_proxy({"providers": demo}, modules=[plugin_with(proxy_sanitizers=[polite])])
    if stream:
        upstream.streams("oh d", "a", "rn", " it, darn")
    else:
        message = {"role": "assistant", "content": "oh darn it, darn"}
        upstream.responds(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    answer = await proxy.chat("demo/small", "hi", stream=stream)

    assert answer.text == "oh d*** it, d***"
