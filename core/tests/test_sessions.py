"""Session affinity: which conversation a request belongs to, and which credential it had."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_core import ProxyRequest
from proxy_core.rotation.sessions import Sessions, session_key

HI = {"role": "user", "content": "hi"}


def key(body=None, *, client="c", session=None):
    return session_key(
        ProxyRequest(id="r", client=client, dialect="d", model="m", stream=False, body=body or {}, session=session)
    )


# --- Whose conversation ------------------------------------------------------------------


def test_a_header_says_it_whatever_the_body_says():
    assert key({"session_id": "a"}, session="s") == key({"messages": [HI]}, session="s")
    assert key(session="s") != key(session="t")


@pytest.mark.parametrize("name", ["session_id", "conversation_id", "thread_id", "chat_id", "prompt_cache_key"])
@pytest.mark.parametrize("place", ["body", "metadata"])
def test_an_id_says_it_in_the_body_or_in_its_metadata(name, place):
    def said(value, text):
        body = {name: value} if place == "body" else {"metadata": {name: value}}
        return key({**body, "messages": [{"role": "user", "content": text}]})

    assert said("a", "hi") == said("a", "bye")
    assert said("a", "hi") != said("b", "hi")


def test_the_conversation_of_the_responses_dialect_says_it():
    assert key({"conversation": {"id": "a"}, "input": "x"}) == key({"conversation": "a", "input": "y"})


def test_claude_code_says_it_in_the_users_id():
    first = {"metadata": {"user_id": "user_1_session_1"}, "messages": [HI]}
    second = {"metadata": {"user_id": "user_1_session_2"}, "messages": [HI]}

    assert key(first) != key(second)


def test_two_clients_never_share_a_conversation():
    for body, session in (({"messages": [HI]}, None), ({"session_id": "a"}, None), ({}, "s")):
        assert key(body, client="a", session=session) != key(body, client="b", session=session)


texts = st.text(max_size=20)
messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": texts}))


@pytest.mark.parametrize("name", ["messages", "input", "contents"])
@settings(max_examples=30)
@given(first=texts, later=messages)
def test_a_conversation_stays_the_same_while_it_grows(name, first, later):
    beginning = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": first}]

    assert key({name: beginning}) == key({name: beginning + later})


def test_conversations_that_begin_otherwise_are_others():
    def conversation(system, user):
        return key({"system": system, "messages": [{"role": "user", "content": user}]})

    assert len({conversation(s, u) for s in ("a", "b") for u in ("a", "b")}) == 4


def test_a_text_that_becomes_a_marked_part_is_the_same_text():
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}

    assert key({"messages": [HI]}) == key({"messages": [{"role": "user", "content": [part]}]})


def test_long_instructions_do_not_hide_what_the_user_said():
    def conversation(user):
        return key({"system": "x" * 100_000, "messages": [{"role": "user", "content": user}]})

    assert conversation("hi") != conversation("bye")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "hi"},
        {"messages": [None, 1, "x"]},
        {"messages": {}},
        {"metadata": "x", "messages": []},
        {"metadata": {"session_id": 7}},
        {"contents": [{"parts": [{"text": "hi"}]}, {"role": "model"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"prompt": ["a", "b"]},
    ],
)
def test_no_body_is_too_odd(body):
    assert key(body) == key(body)


def test_a_body_of_many_megabytes_is_not_read_whole():
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 50_000_000}]}]}
    began = time.process_time()
    key(body)

    assert time.process_time() - began < 0.02


def test_a_body_however_deep_is_read():
    deep = "x"
    for _ in range(50_000):
        deep = [deep]

    assert key({"messages": [{"role": "user", "content": deep}]})


# --- Which credential --------------------------------------------------------------------


def test_a_conversation_stays_where_it_began_and_new_ones_go_to_the_least_used(desk):
    desk = desk(3, "sticky")

    assert [desk.ask(session=s) for s in ("a", "b", "c", "a", "a", "b", "c")] == [
        "k0",
        "k1",
        "k2",
        "k0",
        "k0",
        "k1",
        "k2",
    ]


def test_a_conversation_moves_when_its_credential_cools_down_and_stays_there(desk, clock):
    desk = desk(2, "sticky")
    lease = desk.take(session="a")
    desk.fail(lease=lease, cooldown_s=50)

    assert desk.ask(session="a") == "k1"
    clock.passes(50)
    desk.ask(session="else")  # the probe
    assert desk.ask(session="a") == "k1"


def test_a_probe_is_not_remembered_as_the_conversations_choice(desk, clock):
    desk = desk(2, "sticky")
    desk.fail(cooldown_s=50)
    desk.ask(session="a")
    clock.passes(50)

    assert [desk.ask(session="a") for _ in range(2)] == ["k0", "k1"]


def test_a_conversation_is_forgotten_after_the_ttl_of_its_last_request(desk, clock):
    desk = desk(2, "sticky", routing={"session_ttl_s": 100})
    desk.ask(session="a")
    clock.passes(100)
    assert desk.ask(session="a") == "k0"
    clock.passes(101)

    assert desk.ask(session="a") == "k1"


def test_a_better_priority_wins_over_affinity(desk, clock):
    desk = desk([1, 2], "sticky")
    desk.fail(cooldown_s=50)
    assert desk.ask(session="a") == "k1"
    clock.passes(50)

    assert [desk.ask(session="a") for _ in range(2)] == ["k0", "k0"]


def test_memory_of_conversations_is_bounded_and_drops_the_oldest():
    sessions = Sessions(ttl_s=1e9, most=100)
    for n in range(1000):
        sessions.remember("kept", 7, 0.0)
        sessions.remember(str(n), 1, 0.0)

    assert sessions.get("kept", 0.0) == 7
    assert sessions.get("900", 0.0) is None
    assert len(sessions._known) == 100
