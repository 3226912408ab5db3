"""The upstream sees masks, the client its own text, for any split and any kind of response."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_core import CallDelta, Finish, ProxyRequest, ReasoningDelta, TextDelta
from proxy_core.testing import chunk
from proxy_plugin_redaction.masking import Restorer, masking
from proxy_plugin_redaction.settings import RedactionSettings

MAIL = "ann.example@example.org"
CARD = "4111 1111 1111 1111"
MASKS = {"[EMAIL_1]": MAIL, "[EMAIL_2]": 'bob"\\@example.org', "[CARD_1]": CARD}


@pytest.fixture
def masked(make_proxy, upstream):
    """A proxy that masks these kinds: ``await masked("email")``."""

    async def make(*kinds, **settings):
        provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
        return await make_proxy(
            {"providers": {"demo": provider}, "plugins": {"redaction": {"mask": list(kinds), **settings}}}
        )

    return make


# --- Through the proxy -------------------------------------------------------------------


async def test_the_upstream_sees_masks_and_the_client_its_own_text(masked, upstream):
    proxy = await masked("email", "card")
    message = {"role": "assistant", "content": "I wrote to [EMAIL_1] and [EMAIL_2]."}
    upstream.responds(200, {"object": "chat.completion", "choices": [{"message": message, "finish_reason": "stop"}]})

    answer = await proxy.chat("demo/small", f"Write to {MAIL}, then bob@example.org, then {MAIL}; pay with {CARD}.")

    assert upstream.last.json["messages"][0]["content"] == (
        "Write to [EMAIL_1], then [EMAIL_2], then [EMAIL_1]; pay with [CARD_1]."
    )
    assert answer.text == f"I wrote to {MAIL} and bob@example.org."


@pytest.mark.parametrize("cut", range(1, len("to [EMAIL_1].")))
async def test_a_mask_in_two_events_is_restored(masked, upstream, cut):
    proxy = await masked("email")
    text = "to [EMAIL_1]."
    upstream.streams(text[:cut], text[cut:])

    answer = await proxy.chat("demo/small", f"Write to {MAIL}.", stream=True)

    assert answer.text == f"to {MAIL}."
    assert answer.done


async def test_a_mask_spelled_letter_by_letter_is_restored_and_nothing_else_waits(masked, upstream):
    proxy = await masked("email")
    upstream.streams(*"see [EMAIL_1] or [EMAIL_x] or [")

    answer = await proxy.chat("demo/small", f"Write to {MAIL}.", stream=True)

    assert answer.text == f"see {MAIL} or [EMAIL_x] or ["
    deltas = [c["delta"].get("content") for e in answer.events for c in e["choices"] if c["delta"].get("content")]
    assert deltas[:4] == ["s", "e", "e", " "]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_arguments_of_tool_calls_are_restored_as_json(masked, upstream, stream):
    proxy = await masked("email")
    arguments = '{"to": "[EMAIL_1]", "n": 1}'
    call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    if stream:
        first = {"index": 0, **call, "function": {"name": "send", "arguments": arguments[:12]}}
        rest = {"index": 0, "function": {"arguments": arguments[12:]}}
        upstream.says(
            chunk({"role": "assistant", "tool_calls": [first]}),
            chunk({"tool_calls": [rest]}),
            chunk({}, finish="tool_calls"),
            b"data: [DONE]\n\n",
        )
    else:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        upstream.responds(200, {"choices": [{"message": message, "finish_reason": "tool_calls"}]})

    answer = await proxy.chat("demo/small", f"Write to {MAIL}.", stream=stream)

    assert arguments_of(answer) == {"to": MAIL, "n": 1}


def arguments_of(answer):
    if not answer.events:
        return json.loads(answer.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    calls = [c for e in answer.events for choice in e["choices"] for c in choice["delta"].get("tool_calls", ())]
    return json.loads("".join(call["function"].get("arguments", "") for call in calls))


async def test_a_request_without_anything_to_mask_is_relayed_byte_for_byte(masked, upstream):
    proxy = await masked("email")
    body = (
        b'data: {"odd":  "spacing", "choices": [{"index": 0, "delta": {"content": "[EMAIL_1]"}}]}\n\ndata: [DONE]\n\n'
    )
    upstream.says(body)

    answer = await proxy.chat("demo/small", "nothing here", stream=True)

    assert answer.body == body


async def test_a_mask_the_client_wrote_itself_stays_its_own(masked, upstream):
    proxy = await masked("email")
    upstream.streams("[EMAIL_1] is not [EMAIL_2]")

    answer = await proxy.chat("demo/small", f"[EMAIL_1] is a word of mine; {MAIL} is not", stream=True)

    assert upstream.last.json["messages"][0]["content"] == "[EMAIL_1] is a word of mine; [EMAIL_2] is not"
    assert answer.text == f"[EMAIL_1] is not {MAIL}"


async def test_a_whole_conversation_is_masked_and_the_protocol_is_not(masked, upstream):
    proxy = await masked("email")
    arguments = json.dumps({"to": MAIL})
    call = {"id": "call@example.org", "type": "function", "function": {"name": "send", "arguments": arguments}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/ann@example.org.png"}}
    tool = {"name": "send", "description": f"as {MAIL}", "parameters": {"type": "object", "properties": {}}}

    await proxy.post(
        "/chat/completions",
        {
            "model": "demo/small",
            "messages": [
                {"role": "system", "content": f"You are {MAIL}."},
                {"role": "user", "content": [{"type": "text", "text": MAIL}, image]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call@example.org", "content": f"sent to {MAIL}"},
            ],
            "tools": [{"type": "function", "function": tool}],
        },
    )
    sent = upstream.last.json

    assert MAIL not in upstream.last.body.decode()
    assert json.loads(sent["messages"][2]["tool_calls"][0]["function"]["arguments"]) == {"to": "[EMAIL_1]"}
    assert sent["messages"][3]["tool_call_id"] == "call@example.org"
    assert sent["messages"][1]["content"][1] == image


async def test_embeddings_are_masked_too(masked, upstream):
    proxy = await masked("email")
    data = [{"index": 0, "embedding": [0.5], "object": "embedding"}]
    upstream.for_path("/embeddings").responds(200, {"object": "list", "data": data, "model": "small"})

    answer = await proxy.post("/embeddings", {"model": "demo/small", "input": [f"from {MAIL}", "x"]})

    assert upstream.last.json["input"] == ["from [EMAIL_1]", "x"]
    assert answer.json["data"][0]["embedding"] == [0.5]


async def test_secrets_and_own_patterns_can_be_masked(masked, upstream):
    key = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2"
    proxy = await masked("secrets", "ticket", patterns={"ticket": "T-[0-9]{4}"})
    upstream.streams("use [PREFIXED_1] for [TICKET_1]")

    answer = await proxy.chat("demo/small", f"{key} belongs to T-1234", stream=True)

    assert upstream.last.json["messages"][0]["content"] == "[PREFIXED_1] belongs to [TICKET_1]"
    assert answer.text == f"use {key} for T-1234"


async def test_requests_stay_apart(masked, upstream):
    proxy = await masked("email")
    upstream.streams("[EMAIL_1]")

    first = await proxy.chat("demo/small", "a@example.org", stream=True)
    second = await proxy.chat("demo/small", "b@example.org", stream=True)

    assert (first.text, second.text) == ("a@example.org", "b@example.org")


# --- Every split, every order ------------------------------------------------------------


def restored(events):
    restorer = Restorer(MASKS)
    return [out for event in events for out in restorer.feed(event)] + list(restorer.close())


pieces = st.sampled_from([*MASKS, "[", "]", "[EMAIL_", "1]", "[EMAIL_3]", "word", "[[EMAIL_1]", "é", "\n"])


@given(st.lists(pieces, max_size=8).map("".join), st.data())
def test_whatever_the_split_the_text_is_the_same(text, data):
    wanted = text
    for mask, value in MASKS.items():
        wanted = wanted.replace(mask, value)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    found = restored([*(TextDelta(text=part) for part in parts), Finish(reason="stop")])

    assert "".join(e.text for e in found if isinstance(e, TextDelta)) == wanted
    assert isinstance(found[-1], Finish)


def test_kinds_and_choices_are_streams_of_their_own_and_keep_their_order():
    found = restored(
        [
            ReasoningDelta(text="[EMA"),
            TextDelta(text="[EMAIL"),
            TextDelta(text="_1]", choice=1),
            TextDelta(text="_1]"),
        ]
    )

    assert found == [
        ReasoningDelta(text="[EMA"),
        TextDelta(text="_1]", choice=1),
        TextDelta(text=MAIL),
    ]


@given(st.text(st.characters(codec="utf-8")))
def test_a_value_goes_into_arguments_as_json(value):
    restorer = Restorer({"[X_1]": value})

    (event,) = restorer.feed(CallDelta(call=0, arguments='{"a": "[X_1]"}'))

    assert json.loads(event.arguments) == {"a": value}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.just(f"to {MAIL}"), st.just(CARD)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(json_values)
def test_what_is_masked_comes_back_whole_and_nothing_is_left(content):
    sanitizer = masking(RedactionSettings(mask=["email", "card"]).masked())
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    request = ProxyRequest(id="r", client="c", dialect="openai_chat", model="m", stream=False, body=body)

    sent = sanitizer.request(request)

    text = json.dumps(sent.body, ensure_ascii=False)
    assert MAIL not in text
    assert CARD not in text
    filters = sanitizer.events(sent)
    if sent.body is not body:
        (event,) = filters.feed(TextDelta(text=text))
        assert event.text.count(MAIL) == json.dumps(body).count(MAIL)
    else:
        assert filters is None
