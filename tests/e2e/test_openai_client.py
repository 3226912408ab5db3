"""The official openai client through the proxy."""

import asyncio
import sys
from pathlib import Path

import openai
import pytest
from pydantic import BaseModel

from proxy_core.testing import chunk, serving

HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@pytest.fixture
async def client(proxy):
    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0) as client:
        yield client


async def test_chat(client):
    reply = await client.chat.completions.create(model="demo/small", messages=HI)

    assert reply.choices[0].message.content == "hello"
    assert reply.usage.total_tokens == 5
    assert reply._request_id


async def test_stream(client):
    stream = await client.chat.completions.create(model="demo/small", messages=HI, stream=True)

    assert "".join([c.choices[0].delta.content or "" async for c in stream]) == "hello"


async def test_stream_with_usage(client, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})

    stream = await client.chat.completions.create(
        model="demo/small", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [c async for c in stream]

    assert chunks[-1].usage.total_tokens == 5
    assert chunks[-1].choices == []


async def test_stream_helper_assembles_the_response(client):
    async with client.chat.completions.stream(model="demo/small", messages=HI) as stream:
        completion = await stream.get_final_completion()

    assert completion.choices[0].message.content == "hello"


async def test_tools_in_a_plain_response(client, upstream):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    upstream.responds(
        json_body={"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )

    reply = await client.chat.completions.create(model="demo/small", messages=HI, tools=TOOLS)

    assert upstream.last.json["tools"] == TOOLS
    assert reply.choices[0].message.tool_calls[0].function.arguments == '{"city":"Oslo"}'


async def test_tools_in_a_stream_over_two_turns(client, upstream):
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    upstream.says(
        chunk({"role": "assistant", "content": None, "tool_calls": [start]}),
        *[
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
            for part in ('{"ci', 'ty":"Os', 'lo"}')
        ],
        chunk({}, finish="tool_calls"),
        b"data: [DONE]\n\n",
    )
    async with client.chat.completions.stream(model="demo/small", messages=HI, tools=TOOLS) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    assert message.tool_calls[0].function.arguments == '{"city":"Oslo"}'

    upstream.queue.clear()
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}
    history = [*HI, message.model_dump(exclude_none=True, include={"role", "tool_calls"}), result]
    await client.chat.completions.create(model="demo/small", messages=history, tools=TOOLS)

    assert upstream.last.json["messages"][-1] == result


class Answer(BaseModel):
    city: str
    degrees: int


async def test_structured_output(client, upstream):
    message = {"role": "assistant", "content": '{"city":"Oslo","degrees":7}'}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    upstream.responds(
        json_body={"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )

    reply = await client.chat.completions.parse(model="demo/small", messages=HI, response_format=Answer)

    assert reply.choices[0].message.parsed == Answer(city="Oslo", degrees=7)
    assert upstream.last.json["response_format"]["json_schema"]["schema"]["required"] == ["city", "degrees"]


async def test_an_image_part_is_passed_on(client, upstream):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}

    await client.chat.completions.create(model="demo/small", messages=[{"role": "user", "content": [part]}])

    assert upstream.last.json["messages"][0]["content"] == [part]


VECTORS = {"float": [0.5, -1.0], "base64": "AAAAPwAAgL8="}


@pytest.mark.parametrize("wanted", ["float", "base64", None])
@pytest.mark.parametrize("sent", ["float", "base64"])
async def test_embeddings_arrive_whatever_the_upstream_sends(client, upstream, sent, wanted):
    data = [{"object": "embedding", "index": 0, "embedding": VECTORS[sent]}]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    upstream.for_path("/embeddings").responds(json_body={"object": "list", "data": data, "model": "e", "usage": usage})
    asked = {"encoding_format": wanted} if wanted else {}

    reply = await client.embeddings.create(model="demo/e", input=["a"], dimensions=2, **asked)

    assert reply.data[0].embedding == (VECTORS["base64"] if wanted == "base64" else VECTORS["float"])
    assert upstream.last.json["dimensions"] == 2


async def test_legacy_completions(client, upstream):
    body = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    choice = {"text": "lo", "index": 0, "finish_reason": "stop", "logprobs": None}
    upstream.for_path("/completions").responds(json_body={**body, "choices": [choice]})

    reply = await client.completions.create(model="demo/small", prompt="hel")

    assert reply.choices[0].text == "lo"


async def test_legacy_completions_streamed(client, upstream):
    head = b'data: {"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"logprobs":null,'
    end = [head + b'"text":"","finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    upstream.for_path("/completions").says(head + b'"text":"lo","finish_reason":null}]}\n\n', *end)

    stream = await client.completions.create(model="demo/small", prompt="hel", stream=True)

    assert "".join([c.choices[0].text async for c in stream]) == "lo"


async def test_models(client, upstream):
    upstream.for_path("/models").responds(json_body={"data": [{"id": "org/big", "object": "model"}]})

    assert [model.id async for model in client.models.list()] == ["demo/org/big"]
    assert (await client.models.retrieve("demo/org/big")).id == "demo/org/big"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("demo/none")


async def test_errors_are_the_clients_own_classes(client, proxy, upstream):
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="demo/x/../y", messages=HI, extra_body={"model": "nope/x"})
    assert missing.value.code == "model_not_found"

    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()

    upstream.responds(429, headers={"retry-after": "7"})
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(model="demo/small", messages=HI)
    assert limited.value.response.headers["retry-after"] == "7"


async def test_an_error_in_a_stream_raises(client, upstream):
    upstream.says(chunk({"content": "hel"}), "cut")

    stream = await client.chat.completions.create(model="demo/small", messages=HI, stream=True)
    with pytest.raises(openai.APIError, match="ended before it was complete"):
        _ = [c async for c in stream]


async def test_leaving_a_stream_early_is_fine(client, upstream):
    upstream.streams(*"abcdefgh", gap_s=0.05)

    async with await client.chat.completions.create(model="demo/small", messages=HI, stream=True) as stream:
        async for _ in stream:
            break
    await asyncio.wait_for(upstream.last.left.wait(), 20)

    upstream.queue.clear()
    assert (await client.chat.completions.create(model="demo/small", messages=HI)).choices[0].message.content == "hello"


async def test_client_proxy_and_upstream_are_three_processes(tmp_path):
    script = Path(__file__).with_name("upstream_process.py")
    upstream = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    try:
        address = (await asyncio.wait_for(upstream.stdout.readline(), 20)).decode().strip()
        variables = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": address, "DEMO_API_KEY_1": "up-key"}
        async with (
            serving(tmp_path, **variables) as program,
            openai.AsyncOpenAI(base_url=f"{program.url}/v1", api_key="some-key") as client,
        ):
            chat = await client.chat.completions.create(model="demo/small", messages=HI)
            stream = await client.chat.completions.create(model="demo/small", messages=HI, stream=True)
            streamed = "".join([c.choices[0].delta.content or "" async for c in stream])
            vector = (await client.embeddings.create(model="demo/small", input="a")).data[0].embedding
            models = [model.id async for model in client.models.list()]
    finally:
        upstream.terminate()
        await upstream.wait()

    assert (chat.choices[0].message.content, streamed) == ("hello", "hello")
    assert vector == [0.5, -1.0]
    assert models == ["demo/small"]
