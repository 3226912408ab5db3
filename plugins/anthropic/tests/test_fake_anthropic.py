"""The scripted server: as strict as the API, and one that the vendor's own library takes for it."""

import anthropic
import httpx
import pytest

from proxy_plugin_anthropic.testing import API_KEY, FakeAnthropic, call, finish, redacted, text, thinking

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"}


@pytest.fixture
async def server():
    async with FakeAnthropic() as running:
        yield running


@pytest.fixture
async def client(server):
    async with anthropic.AsyncAnthropic(api_key=API_KEY, base_url=server.address, max_retries=0) as made:
        yield made


def said(content="hi", role="user"):
    return {"role": role, "content": content}


async def test_the_vendors_library_reads_its_plain_responses_and_streams(server, client):
    steps = [
        thinking("Hm", signature="s"),
        redacted("r"),
        text("hel"),
        text("lo"),
        call("weather", {"city": "Oslo"}, id="t"),
    ]
    server.answers(*steps, finish("tool_use", input_tokens=5))
    server.answers(*steps, finish("tool_use", input_tokens=5))
    request = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [said()]}

    plain = await client.messages.create(**request)
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()

    assert [block.type for block in plain.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert plain.content[2].text == "hello"
    kept = {"id", "usage"}
    assert streamed.model_dump(exclude=kept) == plain.model_dump(exclude=kept)
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (5, 2)


async def test_models_are_listed_in_pages_and_tokens_are_counted(server, client):
    server.page_size = 2
    listed = [model.id async for model in client.models.list()]
    counted = await client.messages.count_tokens(model="claude-sonnet-5", messages=[said()])

    assert listed[:2] == ["claude-opus-4-8", "claude-sonnet-5"]
    assert len(listed) == 6
    assert counted.input_tokens > 0


async def test_errors_before_and_in_a_stream_reach_the_library(server, client):
    server.errs("overloaded")
    server.answers(text("hel"), b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n')
    request = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": [said()]}

    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await client.messages.create(**request)
    with pytest.raises(anthropic.APIStatusError):
        async with client.messages.stream(**request) as stream:
            await stream.get_final_message()

    assert overloaded.value.status_code == 529


ADAPTIVE, BUDGET = {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}
REFUSED = {
    "no max_tokens": {"max_tokens": None},
    "too many tokens": {"max_tokens": 10**6},
    "unknown field": {"frequency_penalty": 1},
    "no messages": {"messages": []},
    "assistant first": {"messages": [said(role="assistant")]},
    "unknown role": {"messages": [said(role="tool")]},
    "empty text": {"messages": [said("")]},
    "blank system": {"system": " "},
    "thinking by the user": {"messages": [said([{"type": "thinking", "thinking": "x", "signature": "s"}])]},
    "forged thinking": {
        "messages": [said(), said([{"type": "thinking", "thinking": "x", "signature": "s"}], "assistant"), said()]
    },
    "call without result": {"messages": [said(), said([USE], "assistant"), said()], "tools": [TOOL]},
    "call at the end": {"messages": [said(), said([USE], "assistant")], "tools": [TOOL]},
    "result after text": {
        "messages": [said(), said([USE], "assistant"), said([{"type": "text", "text": "x"}, RESULT])],
        "tools": [TOOL],
    },
    "result without call": {"messages": [said([RESULT])]},
    "call id": {"messages": [said(), said([{**USE, "id": "a.b"}], "assistant"), said()]},
    "repeated call id": {"messages": [said(), said([USE], "assistant"), said([RESULT])] * 2, "tools": [TOOL]},
    "tool name": {"tools": [{**TOOL, "name": "a.b"}]},
    "same tool twice": {"tools": [TOOL, TOOL]},
    "schema without type": {"tools": [{**TOOL, "input_schema": {}}]},
    "schema of alternatives": {"tools": [{**TOOL, "input_schema": {"type": "object", "anyOf": []}}]},
    "choice without tools": {"tool_choice": {"type": "auto"}},
    "choice of no tool": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}},
    "forced with thinking": {"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": ADAPTIVE},
    "budget above the limit": {"model": "claude-sonnet-4-5", "thinking": BUDGET},
    "budget for a newer model": {"max_tokens": 2000, "thinking": BUDGET},
    "adaptive for an older model": {"model": "claude-sonnet-4-5", "thinking": ADAPTIVE},
    "temperature": {"temperature": 0.5},
    "temperature of an older model": {"model": "claude-sonnet-4-5", "temperature": 1.5},
    "both temperatures": {"model": "claude-sonnet-4-5", "temperature": 0.5, "top_p": 0.5},
    "blank stop": {"stop_sequences": ["\n"]},
    "image type": {"messages": [said([{**IMAGE, "source": {**IMAGE["source"], "media_type": "image/tiff"}}])]},
    "image data": {"messages": [said([{**IMAGE, "source": {**IMAGE["source"], "data": "%"}}])]},
    "open format": {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    "effort of an older model": {"model": "claude-sonnet-4-5", "output_config": {"effort": "low"}},
    "five cached blocks": {
        "messages": [said([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5)]
    },
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
async def test_it_refuses_what_the_api_refuses(server, change):
    body = {"model": "claude-opus-4-8", "max_tokens": 1000, "messages": [said()], **change}
    headers = {"x-api-key": API_KEY, "anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
        answer = await http.post("/messages", json={name: value for name, value in body.items() if value is not None})

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_thinking_must_lead_a_turn_that_waits_for_results(server, client):
    server.answers(thinking("Hm"), call("weather", {}, id="toolu_1"), finish("tool_use"))
    request = {"model": "claude-haiku-4-5", "max_tokens": 2000, "tools": [TOOL], "thinking": BUDGET}
    first = await client.messages.create(messages=[said()], **request)
    whole = [block.model_dump(exclude_none=True) for block in first.content]

    second = await client.messages.create(messages=[said(), said(whole, "assistant"), said([RESULT])], **request)
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking`"):
        await client.messages.create(messages=[said(), said(whole[1:], "assistant"), said([RESULT])], **request)

    assert second.stop_reason == "end_turn"
