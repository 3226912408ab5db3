"""What is remembered of thoughts: bounded, and for an hour."""

from proxy_core import CallStart, Finish, ProviderCall, ReasoningDelta
from proxy_plugin_openai_compat.thoughts import Thoughts


def call(client="ann", **body):
    return ProviderCall(dialect="openai_chat", body={"tools": [{}], **body}, client=client)


def think(thoughts, call_id, text, choice=0):
    listen = thoughts.listener(call())
    for event in (
        ReasoningDelta(text=text, choice=choice),
        CallStart(call=0, id=call_id, name="f", choice=choice),
        CallStart(call=1, id=f"{call_id}-b", name="f", choice=choice),
        Finish(reason="tool_calls", choice=choice),
    ):
        listen([event])


def known(thoughts, *ids):
    return [thoughts.find("ann", {"tool_calls": [{"id": one}]}) for one in ids]


def test_the_oldest_thoughts_are_forgotten_first():
    thoughts = Thoughts(max_characters=10)
    for call_id, text in [("a", "12345"), ("b", "67890"), ("b", "6789"), ("c", "x"), ("d", "y")]:
        think(thoughts, call_id, text)

    assert known(thoughts, "a", "b", "c", "d") == [None, "6789", "x", "y"]


def test_a_thought_that_is_too_long_is_not_kept():
    thoughts = Thoughts(max_characters=10)
    think(thoughts, "a", "x" * 11)

    assert known(thoughts, "a") == [None]


def test_a_thought_is_known_for_an_hour():
    now = [0.0]
    thoughts = Thoughts(clock=lambda: now[0])
    think(thoughts, "a", "hm")
    now[0] = 3599
    before = known(thoughts, "a")
    now[0] = 3600

    assert (before, known(thoughts, "a")) == (["hm"], [None])


def test_each_choice_has_its_own_thought():
    thoughts = Thoughts()
    listen = thoughts.listener(call())
    listen([ReasoningDelta(text=f"t{n}", choice=n) for n in (0, 1)])
    listen([CallStart(call=0, id=f"c{n}", name="f", choice=n) for n in (1, 0)])
    listen([Finish(reason="tool_calls", choice=n) for n in (0, 1)])

    assert known(thoughts, "c0", "c1") == ["t0", "t1"]


def test_a_response_that_cannot_call_or_does_not_think_is_not_listened_to():
    assert Thoughts().listener(call(tools=None)) is None
    assert Thoughts().listener(call(thinking={"type": "disabled"})) is None


def test_a_message_with_odd_calls_has_no_thought():
    for calls in (None, [], [None], ["x"], [{}], [{"id": None}]):
        assert Thoughts().find("ann", {"tool_calls": calls}) is None
