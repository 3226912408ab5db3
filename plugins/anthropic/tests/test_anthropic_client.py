"""The official client through the proxy, in front of an upstream that speaks OpenAI's format."""

import asyncio
import json

import anthropic
import httpx
import pytest
from anthropic.types import ThreadNotFoundError
from pydantic import BaseModel

from proxy_core.testing import chunk, cut, pause, stall
from proxy_plugin_anthropic.testing.strict_reader import read_stream

ASKS = {"model": "demo/small", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PNG = "iVBORw0KGgo="
TOOLS = [
    {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object", "properties": {}}},
    {"name": "time", "description": "Tells it.", "input_schema": {"type": "object", "properties": {}}},
]


def asks(*messages, **fields):
    return {**ASKS, "messages": list(messages) or ASKS["messages"], **fields}


def started(index, call_id, name, arguments=""):
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})


def continued(index, arguments):
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


async def test_chat(client, upstream):
    message = await client.messages.create(**ASKS, system="be brief", extra_body={"temperature": 0.5})

    assert [block.text for block in message.content] == ["hello"]
    assert (message.stop_reason, message.model) == ("end_turn", "demo/small")
    assert message.id.startswith("msg_")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    sent = upstream.last.json
    assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.5, 9, "small")


async def test_stream(client, upstream):
    upstream.streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})

    async with client.messages.stream(**ASKS) as stream:
        first = await anext(aiter(stream))
        texts = [text async for text in stream.text_stream]
        message = await stream.get_final_message()

    assert first.type == "message_start"
    assert first.message.usage.input_tokens >= 1  # an estimate
    assert texts == ["hel", "lo"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
    assert upstream.last.json["stream"] is True


@pytest.mark.parametrize("streaming", [False, True])
async def test_tools_over_three_turns_with_two_at_once(client, upstream, streaming):
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        {"id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}},
    ]
    again = [{"id": "c3", "type": "function", "function": {"name": "time", "arguments": "{}"}}]
    if streaming:
        upstream.says(
            chunk({"role": "assistant", "content": "I will."}),
            started(0, "c1", "weather", '{"city":'),
            started(1, "c2", "time"),
            continued(0, ' "Oslo"}'),
            chunk({}, finish="tool_calls"),
            b"data: [DONE]\n\n",
        )
        upstream.says(started(0, "c3", "time", "{}"), chunk({}, finish="tool_calls"), b"data: [DONE]\n\n")
        upstream.streams("cold")
    else:
        said = {"role": "assistant", "content": "I will.", "tool_calls": calls}
        upstream.responds(json_body={"choices": [{"message": said, "finish_reason": "tool_calls"}]})
        said = {"role": "assistant", "content": None, "tool_calls": again}
        upstream.responds(json_body={"choices": [{"message": said, "finish_reason": "stop"}]})
        upstream.responds(json_body={"choices": [{"message": {"content": "cold"}, "finish_reason": "stop"}]})

    async def ask(messages):
        if not streaming:
            return await client.messages.create(**asks(*messages, tools=TOOLS))
        async with client.messages.stream(**asks(*messages, tools=TOOLS)) as stream:
            return await stream.get_final_message()

    messages, answers = [{"role": "user", "content": "weather?"}], []
    for _ in range(3):
        answer = await ask(messages)
        answers.append(answer)
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"{block.name} told"}
            for block in answer.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})

    first, _, third = answers
    assert [(block.type, getattr(block, "input", None)) for block in first.content] == [
        ("text", None),
        ("tool_use", {"city": "Oslo"}),
        ("tool_use", {}),
    ]
    assert [answer.stop_reason for answer in answers] == ["tool_use", "tool_use", "end_turn"]
    assert third.content[0].text == "cold"
    sent = upstream.last.json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    assert sent[1]["content"] == "I will."
    assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]] == ['{"city":"Oslo"}', "{}"]
    assert (sent[3]["tool_call_id"], sent[3]["content"]) == ("c2", "time told")


async def test_thoughts_come_back_to_models_that_want_them(client, upstream, make_proxy):
    upstream.says(chunk({"reasoning_content": "Hm"}), chunk({"content": "Ok"}), chunk({}, finish="stop"))
    async with client.messages.stream(**asks(model="demo/deepseek-x", thinking={"type": "adaptive"})) as stream:
        message = await stream.get_final_message()
    history = [*ASKS["messages"], {"role": "assistant", "content": message.content}, *ASKS["messages"]]
    await client.messages.create(**asks(*history, model="demo/deepseek-x"))

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert upstream.last.json["messages"][1]["reasoning_content"] == "Hm"


async def test_an_image(client, upstream):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    await client.messages.create(**asks({"role": "user", "content": [picture]}))

    (part,) = upstream.last.json["messages"][0]["content"]
    assert part["image_url"]["url"] == f"data:image/png;base64,{PNG}"


class Answer(BaseModel):
    city: str


async def test_structured_output(client, upstream):
    message = {"role": "assistant", "content": '{"city": "Oslo"}'}
    upstream.responds(json_body={"choices": [{"message": message, "finish_reason": "stop"}]})

    parsed = await client.messages.parse(**ASKS, output_format=Answer)

    assert parsed.parsed_output == Answer(city="Oslo")
    assert upstream.last.json["response_format"]["json_schema"]["schema"]["required"] == ["city"]


async def test_what_only_anthropic_has_is_named(client, upstream):
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    search = {"type": "web_search_20250305", "name": "web_search"}
    raw = client.messages.with_raw_response
    answer = await raw.create(**ASKS, tools=[search], extra_body={"context_management": edits})

    assert answer.headers["x-proxy-dropped"] == "tools[].web_search_20250305, context_management"
    assert "tools" not in upstream.last.json
    with pytest.raises(anthropic.BadRequestError, match="web_search"):
        await client.messages.create(**ASKS, tools=[search], tool_choice={"type": "tool", "name": "web_search"})


async def test_tokens_are_counted_with_system_and_tools(client, upstream):
    asked = {"model": "demo/small", "messages": ASKS["messages"]}
    short = await client.messages.count_tokens(**asked)
    long = await client.messages.count_tokens(**asked, system="be brief " * 50, tools=TOOLS)

    assert 0 < short.input_tokens < 60 < long.input_tokens


async def test_models(client, make_proxy, upstream):
    page = await client.models.list()
    (model,) = page.data
    found = await client.models.retrieve("demo/small")

    assert (model.id, model.type, found.id) == ("demo/small", "model", "demo/small")
    assert page.has_more is False
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        await client.models.retrieve("demo/none")


async def test_models_in_pages(make_proxy, upstream):
    models = [{"id": f"m{index}"} for index in range(5)]
    upstream.for_path("/models").responds(json_body={"object": "list", "data": models})
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}})
    async with anthropic.AsyncAnthropic(base_url=proxy.url.removesuffix("/v1"), api_key=proxy.key) as client:
        ids = [model.id async for model in client.models.list(limit=2)]
        before = await client.models.list(limit=2, before_id=ids[3])

    assert ids == [f"demo/m{index}" for index in range(5)]
    assert ([model.id for model in before.data], before.has_more) == (ids[1:3], True)


# --- Errors ------------------------------------------------------------------------------


async def test_a_model_without_a_mapping_is_a_400_with_advice(client):
    with pytest.raises(anthropic.BadRequestError, match=r"\[models\]"):
        await client.messages.create(**asks(model="claude-opus-4-8"))


async def test_a_wrong_key(proxy):
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url.removesuffix("/v1"), api_key="wrong", max_retries=0
    ) as client:
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await client.messages.create(**ASKS)

    assert raised.value.body["error"]["type"] == "authentication_error"
    assert raised.value.request_id


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_overflow_makes_agents_compact(client, upstream, streaming):
    words = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    error = {"message": words, "type": "invalid_request_error", "code": "context_length_exceeded"}
    upstream.responds(400, {"error": error})

    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 9000 tokens > 8192 maximum"):
        await client.messages.create(**ASKS, stream=streaming)


async def test_a_refused_upstream_credential_is_a_403(client, upstream):
    upstream.responds(401)

    with pytest.raises(anthropic.PermissionDeniedError):
        await client.messages.create(**ASKS)


async def test_a_rate_limit_says_how_long(client, upstream):
    upstream.responds(429, headers={"retry-after": "300"})

    with pytest.raises(anthropic.RateLimitError) as raised:
        await client.messages.create(**ASKS)

    headers = raised.value.response.headers
    assert 290 <= int(headers["retry-after"]) <= 300
    assert headers["x-should-retry"] == "false"


async def test_an_outage_is_an_overload(client, upstream):
    upstream.responds(503)

    with pytest.raises(anthropic.APIStatusError) as raised:
        await client.messages.create(**ASKS)

    assert raised.value.status_code in (502, 529)


async def test_after_a_failure_in_mid_stream_the_same_request_works_without_a_stream(client, upstream):
    upstream.says(chunk({"content": "hel"}), cut())
    upstream.responds()

    with pytest.raises(anthropic.APIStatusError, match="ended before it was complete"):
        async with client.messages.stream(**ASKS) as stream:
            await stream.get_final_message()
    message = await client.messages.create(**ASKS)

    assert message.content[0].text == "hello"


@pytest.mark.parametrize("between", [{"content": "\n"}, {"reasoning_content": "hm"}])
async def test_a_text_between_the_arguments_of_a_call_follows_it(client, upstream, between):
    upstream.says(
        started(0, "c1", "weather", '{"city":'),
        chunk(between),
        continued(0, ' "Oslo"}'),
        chunk({}, finish="tool_calls"),
        b"data: [DONE]\n\n",
    )

    async with client.messages.stream(**ASKS, tools=TOOLS) as stream:
        message = await stream.get_final_message()

    kind = "text" if "content" in between else "thinking"
    assert [block.type for block in message.content] == ["tool_use", kind]
    assert message.content[0].input == {"city": "Oslo"}
    assert message.stop_reason == "tool_use"


async def test_a_call_with_nonsense_for_arguments_is_an_error(client, upstream):
    upstream.says(started(0, "c1", "weather", "nonsense"), chunk({}, finish="tool_calls"), b"data: [DONE]\n\n")

    with pytest.raises(anthropic.APIStatusError, match="weather"):
        async for _ in await client.messages.create(**ASKS, tools=TOOLS, stream=True):
            pass


async def test_so_is_one_in_a_plain_response(client, upstream):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "nonsense"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    upstream.responds(json_body={"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})

    with pytest.raises(anthropic.APIStatusError, match="the model called the tool 'weather' with arguments that are"):
        await client.messages.create(**ASKS, tools=TOOLS)


async def test_a_client_that_leaves_ends_the_request(client, upstream):
    upstream.says(chunk({"content": "hel"}), stall())

    async with client.messages.stream(**ASKS) as stream:
        async for _ in stream.text_stream:
            break
    async with asyncio.timeout(20):
        await upstream.last.left.wait()


async def test_silence_is_filled_with_pings(make_proxy, upstream):
    upstream.says(chunk({"content": "a"}), pause(0.5), chunk({"content": "b"}), chunk({}, finish="stop"))
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"demo": provider}, "streams": {"heartbeat_s": 0.1}})
    answer = await proxy.post("/messages", {**ASKS, "stream": True})

    assert b'event: ping\ndata: {"type":"ping"}\n\n' in answer.body
    assert read_stream(answer.body)["content"] == [{"type": "text", "text": "ab"}]


# --- What agents ask at their start --------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello")])
async def test_a_connection_is_opened_without_a_key(proxy, method, path):
    async with httpx.AsyncClient(base_url=proxy.url.removesuffix("/v1")) as client:
        answer = await client.request(method, path)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/messages", "/v1/v1/messages", "/messages?beta=true"])
async def test_other_spellings_of_the_path(proxy, path):
    base = proxy.url.removesuffix("/v1")
    headers = {"x-api-key": proxy.key, "anthropic-version": "2023-06-01"}
    answer = await proxy.client.post(base + path, content=json.dumps(ASKS), headers=headers)

    assert answer.json()["type"] == "message"


async def test_an_unknown_path_is_an_error_in_the_clients_format(proxy):
    headers = {"x-api-key": proxy.key, "anthropic-version": "2023-06-01"}
    answer = await proxy.client.post(proxy.url + "/complete", content=b"{}", headers=headers)

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


async def test_tools_that_only_anthropic_runs_are_refused_if_settings_say_so(make_proxy, upstream):
    tables = {"providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}}
    proxy = await make_proxy({**tables, "plugins": {"anthropic": {"hosted_tools": "refuse"}}})
    tools = [TOOLS[0], {"type": "web_search_20250305", "name": "web_search"}]
    answer = await proxy.post("/messages", {**ASKS, "tools": tools})

    assert (answer.status, answer.error["param"]) == (400, "tools.1")


async def test_a_tool_of_anthropics_that_the_client_runs_is_refused(proxy):
    answer = await proxy.post("/messages", {**ASKS, "tools": [{"type": "bash_20250124", "name": "bash"}]})

    assert (answer.status, answer.error["param"]) == (400, "tools")
    assert "bash_20250124" in answer.error["message"]


# --- Threads: the client sends only what is new, and Anthropic has the rest ----------------


def completion(text, **said):
    return {"choices": [{"message": {"content": text, **said}, "finish_reason": "stop"}]}


def told(upstream):
    """What each request told of the conversation."""
    return [[(m["role"], m["content"]) for m in request.json["messages"]] for request in upstream.requests]


@pytest.mark.parametrize("behaviour", ["error", "continue_unthreaded"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_thread_keeps_its_whole_history_with_a_model_that_keeps_none(client, upstream, streaming, behaviour):
    for reply in ("one", "two", "three"):
        upstream.streams(reply) if streaming else upstream.responds(json_body=completion(reply))
    thread = client.beta.messages.thread(model="demo/small", max_tokens=9, unsupported_request_behavior=behaviour)

    for question in ("a", "b", "c"):
        if streaming:
            async with thread.stream({"role": "user", "content": question}) as stream:
                await stream.get_final_message()
        else:
            await thread.send({"role": "user", "content": question})

    talk = [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"), ("user", "c")]
    assert told(upstream) == [talk[:1], talk[:3], talk]


async def test_a_tool_runner_keeps_its_whole_history_with_a_model_that_keeps_none(client, upstream):
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Tells it."""
        return f"cold in {city}"

    cities = ("Oslo", "Rome", "Bonn")
    for city in cities:
        function = {"name": "weather", "arguments": f'{{"city": "{city}"}}'}
        call = {"id": f"c-{city}", "type": "function", "function": function}
        upstream.responds(json_body=completion(None, tool_calls=[call]))
    upstream.responds(json_body=completion("cold everywhere"))

    last = await client.beta.messages.tool_runner(**ASKS, tools=[weather]).until_done()

    assert last.content[0].text == "cold everywhere"
    results = [[m["content"] for m in r.json["messages"] if m["role"] == "tool"] for r in upstream.requests]
    assert results == [[f"cold in {city}" for city in cities[:count]] for count in range(4)]


@pytest.mark.parametrize("messages", [ASKS["messages"], []])
async def test_a_thread_that_is_not_known_here_is_not_found(client, upstream, messages):
    asked = {**ASKS, "messages": messages, "thread": {"type": "continue", "previous_message_id": "msg_1"}}

    with pytest.raises(ThreadNotFoundError) as raised:
        await client.beta.messages.create(**asked, betas=["message-threads-2026-08-12"])

    assert raised.value.status_code == 404
    assert raised.value.body["error"]["type"] == "not_found_error"
    assert raised.value.body["error"]["details"] == {"error_code": "thread_not_found"}
    assert upstream.requests == []
