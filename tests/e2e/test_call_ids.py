"""An upstream that gives every call the same id: clients get ids that are unique in the conversation, and results find
their calls again."""

import json
import re

import pytest

from proxy_core.testing import chunk

ID = "call_0"
FUNCTION = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}
CITIES = ["Oslo", "Rome"]


def arguments(city):
    return json.dumps({"city": city}, separators=(",", ":"))


class Anthropic:
    path = "/messages"
    found = re.compile(r'"type":"tool_use","id":"([^"]+)"')

    def body(self, turns):
        messages = [{"role": "user", "content": "hi"}]
        for ids in turns:
            calls = [
                {"type": "tool_use", "id": i, "name": "weather", "input": {"city": c}}
                for i, c in zip(ids, CITIES, strict=True)
            ]
            results = [
                {"type": "tool_result", "tool_use_id": i, "content": c} for i, c in zip(ids, CITIES, strict=True)
            ]
            messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
        tools = [{"name": "weather", "input_schema": FUNCTION["parameters"]}]
        return {"messages": messages, "max_tokens": 9, "tools": tools}


class Responses:
    path = "/responses"
    found = re.compile(r'"call_id":"([^"]+)"')

    def body(self, turns):
        items = [{"role": "user", "content": "hi"}]
        for ids in turns:
            items += [
                {"type": "function_call", "call_id": i, "name": "weather", "arguments": arguments(c)}
                for i, c in zip(ids, CITIES, strict=True)
            ]
            items += [
                {"type": "function_call_output", "call_id": i, "output": c} for i, c in zip(ids, CITIES, strict=True)
            ]
        return {"input": items, "store": False, "tools": [{"type": "function", **FUNCTION}]}


class Gemini:
    path = "/../v1beta/models/demo/small:generateContent"
    found = re.compile(r'"functionCall":\{"id":"([^"]+)"')

    def body(self, turns):
        contents = [{"role": "user", "parts": [{"text": "hi"}]}]
        for ids in turns:
            pairs = list(zip(ids, CITIES, strict=True))
            calls = [{"functionCall": {"id": i, "name": "weather", "args": {"city": c}}} for i, c in pairs]
            results = [{"functionResponse": {"id": i, "name": "weather", "response": {"output": c}}} for i, c in pairs]
            contents += [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]
        return {"contents": contents, "tools": [{"functionDeclarations": [FUNCTION]}]}


CLIENTS = [Anthropic(), Responses(), Gemini()]


def says_two(upstream, stream, call_id=ID):
    calls = [
        {"index": n, "id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments(city)}}
        for n, city in enumerate(CITIES)
    ]
    if stream:
        pieces = (chunk({"tool_calls": [call]}) for call in calls)
        upstream.says(*pieces, chunk({}, finish="tool_calls"), b"data: [DONE]\n\n")
    else:
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        upstream.responds(json_body={"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def asked(client, turns, stream):
    path = client.path
    if stream and isinstance(client, Gemini):
        path = path.replace("generateContent", "streamGenerateContent?alt=sse")
    return path, {"model": "demo/small", **client.body(turns), **({"stream": True} if stream else {})}


@pytest.mark.parametrize("call_id", [ID, "functions.weather:0"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: type(client).__name__)
async def test_ids_are_unique_and_results_find_their_calls(proxy, upstream, client, stream, call_id):
    turns, seen = [], []
    for _ in range(3):
        says_two(upstream, stream, call_id)
        answer = await proxy.post(*asked(client, turns, stream))
        assert answer.status == 200, answer.body
        turns.append(list(dict.fromkeys(client.found.findall(answer.body.decode()))))
        seen += turns[-1]

    assert len(set(seen)) == len(seen) == 6, turns
    messages = upstream.last.json["messages"]
    calls = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    texts = [message["content"] for message in messages if message["role"] == "tool"]
    assert calls == results
    assert len(set(calls)) == 4
    assert [city in text for city, text in zip(CITIES * 2, texts, strict=True)] == [True] * 4


async def test_a_new_id_stays_as_it_is(proxy, upstream):
    says_two(upstream, False, "call_9")
    answer = await proxy.post(*asked(CLIENTS[0], [["call_0", "call_1"]], False))

    assert answer.json["content"][0]["id"] == "call_9"


async def test_a_kept_response_counts(proxy, upstream):
    says_two(upstream, False)
    tools = [{"type": "function", **FUNCTION}]
    first = (await proxy.post("/responses", {"model": "demo/small", "input": "hi", "tools": tools})).json
    ids = [item["call_id"] for item in first["output"]]
    outputs = [{"type": "function_call_output", "call_id": i, "output": c} for i, c in zip(ids, CITIES, strict=True)]
    says_two(upstream, False)
    more = {"previous_response_id": first["id"], "input": outputs, "tools": tools}
    second = (await proxy.post("/responses", {"model": "demo/small", **more})).json

    assert len({*ids, *(item["call_id"] for item in second["output"])}) == 4
