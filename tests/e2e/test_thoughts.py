"""A vendor that wants the thoughts of earlier turns with calls, and clients that do not return them."""

import json

import httpx
import pytest

from proxy_core.testing import chunk

KEYS = {"ann": "a-long-key-of-ann", "bob": "a-long-key-of-bob"}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_cache_hit_tokens": 5}


@pytest.fixture
async def vendor(make_proxy, upstream):
    """The proxy; ``upstream`` thinks and then calls a tool."""
    provider = {"preset": "deepseek", "base_url": upstream.url, "api_keys": ["key-of-the-vendor"]}
    clients = {name: {"key": key} for name, key in KEYS.items()}
    proxy = await make_proxy({"providers": {"deepseek": provider}, "clients": clients})
    thought = [{"reasoning_content": text} for text in ("Where ", "is it?")]
    calls = {"tool_calls": [{"index": 0, **CALL}]}
    upstream.streamed = [
        chunk({"role": "assistant", **thought[0]}, system_fingerprint="fp"),
        chunk(thought[1]),
        chunk(calls),
    ]
    upstream.streamed.append(chunk({}, finish="tool_calls"))
    message = {"role": "assistant", "content": None, "reasoning_content": "Where is it?", "tool_calls": [CALL]}
    upstream.whole = {
        **{
            "id": "r",
            "object": "chat.completion",
            "created": 1,
            "model": "deepseek/deepseek-v4-pro",
            "system_fingerprint": "fp",
        },
        **{"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE},
    }
    return proxy


async def ask(proxy, client, messages, path="chat/completions", **more):
    body = {"model": "deepseek/deepseek-v4-pro", "messages": messages, "tools": TOOLS, **more}
    async with httpx.AsyncClient() as http:
        headers = {"authorization": f"Bearer {KEYS[client]}"}
        return await http.post(f"{proxy.url}/{path}", json=body, headers=headers)


def conversation(*calls):
    """What a client sends that keeps only what it knows."""
    return [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": list(calls)},
        *({"role": "tool", "tool_call_id": call["id"], "content": "here"} for call in calls),
    ]


def thought_sent(upstream):
    return [m.get("reasoning_content") for m in upstream.requests[-1].json["messages"] if m["role"] == "assistant"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_thought_before_a_call_goes_back_with_the_call_for_the_same_client_only(vendor, upstream, stream):
    upstream.says(*upstream.streamed) if stream else upstream.responds(200, upstream.whole)
    answer = await ask(vendor, "ann", [{"role": "user", "content": "Where?"}], stream=stream)
    seen = []
    for client, call in [("ann", CALL), ("bob", CALL), ("ann", {**CALL, "id": "call_2"})]:
        await ask(vendor, client, conversation(call))
        seen += thought_sent(upstream)

    assert "Where " in answer.text, "the client has it, too"
    assert '"fp"' in answer.text
    assert seen == ["Where is it?", " ", " "]


async def test_what_a_client_returns_stays_as_it_is(vendor, upstream):
    upstream.responds(200, upstream.whole)
    await ask(vendor, "ann", [{"role": "user", "content": "Where?"}])
    messages = conversation(CALL)
    messages[1]["reasoning_content"] = "Elsewhere."
    await ask(vendor, "ann", messages)

    assert thought_sent(upstream) == ["Elsewhere."]


async def test_a_client_that_reads_everything_of_a_response_still_does(vendor, upstream):
    upstream.responds(200, upstream.whole)
    answer = (await ask(vendor, "ann", [{"role": "user", "content": "Where?"}])).json()

    (choice,), (sent,) = answer["choices"], upstream.whole["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"].items() >= sent["message"].items()
    assert answer["usage"].items() >= USAGE.items()
    assert answer["system_fingerprint"] == "fp"


async def test_a_response_without_tools_is_relayed_byte_for_byte(vendor, upstream):
    body = json.dumps(upstream.whole, indent=3).encode()
    upstream.responds(200, body=body)

    assert (await ask(vendor, "ann", [{"role": "user", "content": "Where?"}], tools=None)).content == body


async def test_a_client_of_another_format_that_leaves_thoughts_out_has_them_restored(vendor, upstream):
    upstream.responds(200, upstream.whole)
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    user = {"role": "user", "content": "Where?"}
    answer = await ask(vendor, "ann", [user], "messages", tools=tools, max_tokens=99)
    (call,) = [block for block in answer.json()["content"] if block["type"] == "tool_use"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "here"}]}
    await ask(
        vendor, "ann", [user, {"role": "assistant", "content": [call]}, result], "messages", tools=tools, max_tokens=9
    )

    assert thought_sent(upstream) == ["Where is it?"]
