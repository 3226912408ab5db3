"""Anthropic's official client in front of a provider that speaks Gemini's format."""

import anthropic
import pytest

from proxy_core.testing import cut
from proxy_plugin_gemini.testing import FakeGemini, call, finish, text

MODEL = "gemini/gemini-3-pro-preview"
TOOLS = [
    {"name": name, "description": "Tells it.", "input_schema": {"type": "object", "properties": {}}}
    for name in ("weather", "time")
]


@pytest.fixture
async def google():
    async with FakeGemini() as running:
        yield running


@pytest.fixture
def start(make_proxy, google):
    async def make():
        return await make_proxy({"providers": {"gemini": google.provider}, "models": {"claude-*": MODEL}})

    return make


@pytest.fixture
async def client(start):
    async with client_of(await start()) as made:
        yield made


def client_of(proxy):
    return anthropic.AsyncAnthropic(base_url=proxy.url.removesuffix("/v1"), api_key=proxy.key, max_retries=0)


async def asked(client, messages, *, stream, **fields):
    body = {"model": MODEL, "max_tokens": 5000, "messages": messages, **fields}
    if not stream:
        return await client.messages.create(**body)
    async with client.messages.stream(**body) as streamed:
        return await streamed.get_final_message()


def user(content):
    return {"role": "user", "content": content}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat(client, google, stream):
    google.answers(text("hm", thought=True), text("hel"), text("lo"), finish("STOP"))

    thinking = {"type": "adaptive"}
    message = await asked(client, [user("hi")], stream=stream, system="be brief", thinking=thinking)

    assert [(block.type, getattr(block, "text", "")) for block in message.content] == [
        ("thinking", ""),
        ("text", "hello"),
    ]
    assert (message.stop_reason, message.model) == ("end_turn", MODEL)
    assert message.usage.input_tokens > 0
    sent = google.called("enerateContent")[-1].json
    assert sent["systemInstruction"] == {"parts": [{"text": "be brief"}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_signatures_of_calls_survive_three_turns_and_a_restart(start, google, stream):
    """The proxies are new, so that only what the client sends back can have the signatures."""
    google.answers(
        text("hm", thought=True),
        text("I will."),
        call("weather", {"city": "Oslo"}),
        call("time", signed=False),
        finish(),
    )
    google.answers(call("time"), finish())
    google.answers(text("cold"), finish())

    messages, answers = [user("weather?")], []
    for _ in range(3):
        async with client_of(await start()) as client:
            answer = await asked(client, messages, stream=stream, tools=TOOLS)
        answers.append(answer)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "told"}
            for block in answer.content
            if block.type == "tool_use"
        ]
        messages += [{"role": "assistant", "content": answer.content}, user(results)]

    assert [answer.stop_reason for answer in answers] == ["tool_use", "tool_use", "end_turn"]
    assert answers[2].content[0].text == "cold"
    contents = google.called("enerateContent")[-1].json["contents"]
    parts = [part for content in contents for part in content["parts"] if "functionCall" in part]
    assert [part["functionCall"]["name"] for part in parts] == ["weather", "time", "time"]
    signatures = [part.get("thoughtSignature") for part in parts]
    assert signatures[1] is None
    assert {signatures[0], signatures[2]} <= google.signatures


async def test_the_client_keeps_its_own_name_for_a_model(client):
    message = await client.messages.create(model="claude-opus-4-8", max_tokens=9, messages=[user("hi")])

    assert message.model == "claude-opus-4-8"


async def test_an_image(client, google):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    await asked(client, [user([{"type": "image", "source": source}])], stream=False)

    (part,) = google.called("enerateContent")[-1].json["contents"][0]["parts"]
    assert part["inlineData"] == {"mimeType": "image/png", "data": "iVBORw0KGgo="}


async def test_a_failure_in_mid_stream_is_an_error_event(client, google):
    google.answers(text("hel"), cut())

    with pytest.raises(anthropic.APIStatusError, match="ended before it was complete"):
        await asked(client, [user("hi")], stream=True)


async def test_an_overflow_makes_agents_compact(client, google):
    google.errs("too_long")

    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 1200000 tokens > 1048576 maximum"):
        await asked(client, [user("hi")], stream=False)
