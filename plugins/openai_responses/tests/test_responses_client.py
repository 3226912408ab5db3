"""The official openai client, over the Responses API, through the proxy in front of an OpenAI-speaking upstream."""

import json

import openai
import pytest
from pydantic import BaseModel

from proxy_core.testing import chunk, cut

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as client:
        yield client


def call(index, call_id, name, arguments):
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}


def outcome(call_id, output):
    return {"type": "function_call_output", "call_id": call_id, "output": output}


async def test_plain(client, upstream):
    response = await client.responses.create(
        model="demo/small", input="hi", instructions="be brief", temperature=0.5, max_output_tokens=90
    )

    assert response.output_text == "hello"
    assert (response.status, response.model, response.object) == ("completed", "demo/small", "response")
    assert response.usage.input_tokens_details.cached_tokens == 0
    assert response.usage.total_tokens == 5
    assert (response.instructions, response.temperature, response.max_output_tokens) == ("be brief", 0.5, 90)
    sent = upstream.last.json
    assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.5, 90, "small")


async def test_stream(client, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})

    async with client.responses.stream(model="demo/small", input="hi") as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()

    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert response.output_text == "hello"
    assert response.usage.total_tokens == 5


async def test_tools_over_three_turns_with_two_in_parallel(client, upstream):
    upstream.says(
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk(call(0, "c1", "weather", '{"city":')),
        chunk(call(1, "c2", "weather", '{"city":"Rome"}')),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
        chunk({}, finish="tool_calls"),
    )
    upstream.says(
        chunk({"role": "assistant", "content": "One more. "}),
        chunk(call(0, "c3", "weather", "")),
        chunk({}, finish="tool_calls"),
    )
    upstream.streams("done")
    conversation = [{"role": "user", "content": "Weather?"}]
    async with client.responses.stream(model="demo/small", input=conversation, tools=[WEATHER]) as stream:
        events = [event async for event in stream]
        first = await stream.get_final_response()

    assert [item.type for item in first.output] == ["reasoning", "function_call", "function_call"]
    assert [json.loads(item.arguments) for item in first.output[1:]] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    conversation += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    conversation += [outcome("c2", "hot"), outcome("c1", "cold")]
    second = await client.responses.create(model="demo/small", input=conversation, tools=[WEATHER])

    assert [m["role"] for m in upstream.last.json["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [m["content"] for m in upstream.last.json["messages"][2:]] == ["cold", "hot"]
    assert second.output_text == "One more. "
    assert (second.output[1].call_id, second.output[1].arguments) == ("c3", "{}")
    conversation += [item.model_dump(exclude_none=True) for item in second.output]
    conversation.append(outcome("c3", [{"type": "input_text", "text": "mild"}]))
    third = await client.responses.create(model="demo/small", input=conversation, tools=[WEATHER])

    assert third.output_text == "done"
    assert upstream.last.json["messages"][-1] == {"role": "tool", "tool_call_id": "c3", "content": "mild"}


async def test_images(client, upstream):
    image = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
    content = [{"type": "input_text", "text": "What is it?"}, image]

    await client.responses.create(model="demo/small", input=[{"role": "user", "content": content}])

    sent = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    assert upstream.last.json["messages"][0]["content"] == [{"type": "text", "text": "What is it?"}, sent]


async def test_structured_output(client, upstream):
    class Answer(BaseModel):
        city: str

    upstream.streams('{"city":"Oslo"}')

    response = await client.responses.parse(model="demo/small", input="hi", text_format=Answer)

    assert response.output_parsed == Answer(city="Oslo")
    assert upstream.last.json["response_format"]["json_schema"]["name"] == "Answer"


async def test_an_unknown_model_is_404_with_a_code(client):
    with pytest.raises(openai.NotFoundError) as raised:
        await client.responses.create(model="nowhere/small", input="hi")

    assert raised.value.code == "model_not_found"


async def test_an_error_names_the_field_of_this_format(client):
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(model="demo/small", input=[{"type": "compaction", "encrypted_content": "x"}])

    assert raised.value.param == "input"


async def test_a_stream_that_breaks_off_ends_with_an_error(client, upstream):
    upstream.says(chunk({"role": "assistant", "content": "hel"}), cut())

    stream = await client.responses.create(model="demo/small", input="hi", stream=True)
    events = [event async for event in stream]

    assert events[-1].type == "response.failed"
    assert events[-1].response.id == events[0].response.id
    assert events[-1].response.error.code == "server_error"
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_a_websocket_is_refused_with_the_status_after_which_agents_use_http(proxy):
    offer = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    key = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "authorization": f"Bearer {proxy.key}"}
    answer = await proxy.client.get(f"{proxy.url}/responses", headers={**offer, **key})

    assert answer.status_code == 426
    assert "use HTTP" in answer.json()["error"]["message"]


async def test_tokens_are_counted(client):
    counted = await client.responses.input_tokens.count(model="demo/small", input="hello there")

    assert counted.input_tokens > 0


async def test_conversations_are_not_compacted(client):
    with pytest.raises(openai.NotFoundError, match="does not compact"):
        await client.responses.compact(model="demo/small", input="hi")
