"""The toy provider: its responses, and that it is active only on request."""

import json

import pytest

ON = {"plugins": {"devkit": {"demo": True}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}}
SCHEMA = {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


@pytest.fixture
async def demo(make_proxy):
    return await make_proxy(ON)


async def listed(proxy):
    return [model["id"] for model in (await proxy.get("/models")).json["data"]]


# --- On and off --------------------------------------------------------------------------


async def test_installed_it_serves_nothing(make_proxy):
    proxy = await make_proxy({})

    assert await listed(proxy) == []
    assert [check.run() for check in proxy.proxy.catalog.checks if check.name == "demo"] == [None]
    assert (await proxy.chat("demo/small", "hi")).status == 404


async def test_it_has_two_models_and_no_other(demo):
    unknown = await demo.chat("demo/other", "hi")

    assert await listed(demo) == ["demo/large", "demo/small"]
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


async def test_a_provider_of_the_users_own_is_not_replaced(make_proxy, upstream):
    upstream.responds()
    mine = {"providers": {"demo": {"base_url": upstream.url}}}
    proxy = await make_proxy({**mine, **ON})
    (plugin,) = [p for p in proxy.proxy.catalog.plugins if p.name == "devkit"]

    assert plugin.state == "skipped"
    assert "providers.demo is already configured" in plugin.reason


# --- What it answers ---------------------------------------------------------------------


async def test_it_answers_with_the_users_own_words_and_always_the_same(demo):
    once, again = [await demo.chat("demo/small", "hi there") for _ in range(2)]

    assert once.text == "Hello from proxy-core's demo model. You said: hi there"
    assert once.json["choices"][0]["finish_reason"] == "stop"
    assert once.json["usage"]["total_tokens"] > 0
    assert once.json == again.json


async def test_it_streams_word_by_word(demo):
    answer = await demo.chat("demo/small", "hi there", stream=True)
    counted = await demo.chat("demo/small", "hi", stream=True, stream_options={"include_usage": True})

    assert answer.text == "Hello from proxy-core's demo model. You said: hi there"
    assert answer.done
    assert len(answer.events) > 8
    assert not any("usage" in event and event["usage"] for event in answer.events), "nobody asked for it"
    assert counted.events[-1]["usage"]["total_tokens"] > 0


async def test_it_calls_the_first_tool_until_it_has_a_result(demo):
    messages = [{"role": "user", "content": "how is it in Rome?"}]
    called = await demo.post("/chat/completions", {"model": "demo/small", "messages": messages, "tools": [TOOL]})
    call = called.json["choices"][0]["message"]["tool_calls"][0]
    messages += [called.json["choices"][0]["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    after = await demo.post("/chat/completions", {"model": "demo/small", "messages": messages, "tools": [TOOL]})
    streamed = await demo.chat("demo/small", "how is it in Rome?", stream=True, tools=[TOOL])
    deltas = [choice["delta"] for event in streamed.events for choice in event["choices"]]

    assert called.json["choices"][0]["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"]) == {"city": "demo"}
    assert after.json["choices"][0]["message"]["content"].endswith("You said: sunny")
    assert [d["tool_calls"] for d in deltas if "tool_calls" in d] == [[{"index": 0, **call}]]


async def test_it_fills_in_a_schema(demo):
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
    answer = await demo.chat("demo/small", "Rome", response_format=wanted)

    assert json.loads(answer.text) == {"city": "Rome", "days": 1}


async def test_it_embeds_and_completes(demo):
    vectors = await demo.post("/embeddings", {"model": "demo/small", "input": ["a", "b", "a"], "dimensions": 8})
    first, second, third = (item["embedding"] for item in vectors.json["data"])
    completed = await demo.post("/completions", {"model": "demo/small", "prompt": "once"})

    assert first == third != second
    assert len(first) == 8
    assert all(-1 <= number <= 1 for number in first)
    assert completed.json["choices"][0]["text"] == " (demo) once"
