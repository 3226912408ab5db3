"""Chat, streams and embeddings through litellm's own adapters, against scripted upstreams in the vendors' formats."""

import asyncio
import json
import time

import pytest

from proxy_core import Observer, SetupError
from proxy_core.testing import plugin_with
from proxy_plugin_litellm.names import KEY_ONLY, OWN_PLUGINS

#: litellm's own, and those of what it uses.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Before a client's time runs: it takes seconds, or minutes on a busy machine. ``test_program`` imports it late."""
    import litellm  # noqa: F401


KEY = "sk-ant-secret-key-of-ours-0123456789"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
EVENTS = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def events(*which):
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in which or EVENTS]


def tables(upstream, *keys, name="anthropic", **keywords):
    base = upstream.url.removesuffix("/v1")
    return {
        "plugins": {"litellm": {"providers": {name: {"api_base": base, **keywords}}}},
        "providers": {f"litellm-{name}": {"api_keys": list(keys or (KEY,))}},
        "routing": {"max_wait_s": 5},
    }


async def test_a_chat(make_proxy, upstream):
    upstream.responds(200, MESSAGE)
    proxy = await make_proxy(tables(upstream))

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", max_tokens=9)

    assert (answer.status, answer.text) == (200, "hello")
    assert answer.json["usage"]["total_tokens"] == 8
    assert upstream.last.json["model"] == "claude-x"
    assert upstream.last.headers["x-api-key"] == KEY


async def test_a_stream(make_proxy, upstream):
    upstream.says(*events())
    proxy = await make_proxy(tables(upstream))

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", stream=True, stream_options={"include_usage": True})

    assert answer.status == 200, answer.body.decode()[:1500]
    assert (answer.text, answer.done) == ("hello", True)
    assert answer.events[-1]["usage"]["total_tokens"] == 8


async def test_tools(make_proxy, upstream):
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    upstream.responds(200, {**MESSAGE, "content": [call], "stop_reason": "tool_use"})
    proxy = await make_proxy(tables(upstream))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", tools=[tool])

    choice = answer.json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}


async def test_embeddings(make_proxy, upstream):
    upstream.responds(
        200, {"id": "1", "embeddings": {"float": [[0.5, 1.5]]}, "meta": {"billed_units": {"input_tokens": 2}}}
    )
    settings = tables(upstream, name="cohere")
    settings["plugins"]["litellm"]["providers"]["cohere"]["api_base"] += "/embed"
    proxy = await make_proxy(settings)

    answer = await proxy.post("/embeddings", {"model": "litellm/cohere/embed-v4", "input": ["hi"]})

    assert answer.json["data"][0]["embedding"] == [0.5, 1.5]
    assert answer.json["usage"]["total_tokens"] == 2


async def test_a_named_deployment(make_proxy, upstream):
    upstream.responds()
    proxy = await make_proxy(tables(upstream, name="eu", provider="azure", api_version="2024-10-21"))

    answer = await proxy.chat("litellm/eu/my-gpt", "hi")

    assert answer.text == "hello"
    assert upstream.last.path.startswith("/openai/deployments/my-gpt/chat/completions")


async def test_keys_rotate_and_cool_down(make_proxy, upstream):
    slow = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
    upstream.for_key("first").responds(429, slow, headers={"retry-after": "77"})
    upstream.for_key("second").responds()
    proxy = await make_proxy(tables(upstream, "first", "second", name="compat", provider="openai"))

    answers = [await proxy.chat("litellm/compat/gpt-x", "hi") for _ in range(3)]

    assert [a.status for a in answers] == [200, 200, 200]
    assert 60 < proxy.cooldown_s("first") <= 77
    assert upstream.keys_seen.count("first") == 1


async def test_a_clients_mistake_is_blamed_on_the_client(make_proxy, upstream):
    upstream.responds(
        400, {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}
    )
    proxy = await make_proxy(tables(upstream, "first", "second"))

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi")

    assert answer.status == 400
    assert "max_tokens: too large" in answer.error["message"]
    assert len(upstream.requests) == 1


async def test_no_field_of_a_body_steers_litellm(make_proxy, upstream):
    upstream.responds(200, MESSAGE)
    proxy = await make_proxy(tables(upstream))
    guarded = {
        "api_base": "http://127.0.0.1:1/",
        "base_url": "http://127.0.0.1:1/",
        "api_key": "theirs",
        "extra_headers": {"x-evil": "1"},
        "headers": {"x-evil": "1"},
        "custom_llm_provider": "openai",
        "mock_response": "mocked",
        "metadata": {"a": "b"},
        "aws_region_name": "x",
        "num_retries": 7,
        "fallbacks": ["openai/gpt-4"],
    }

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", **guarded)

    assert answer.text == "hello"
    assert upstream.last.headers["x-api-key"] == KEY
    assert "x-evil" not in upstream.last.headers


async def test_an_unreachable_upstream(make_proxy, upstream):
    settings = tables(upstream)
    settings["plugins"]["litellm"]["providers"]["anthropic"]["api_base"] = "http://127.0.0.1:9"
    proxy = await make_proxy({**settings, "routing": {"max_wait_s": 0.5}})

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi")

    assert answer.status == 502
    assert "reach" in answer.error["message"], answer.error


async def test_a_slow_upstream_is_cut_at_the_cores_deadline(make_proxy, upstream):
    upstream.says(60.0, *events())
    proxy = await make_proxy({**tables(upstream), "timeouts": {"first_event_s": 0.5}, "routing": {"max_wait_s": 0}})
    began = time.monotonic()

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", stream=True)

    assert answer.status == 504
    assert time.monotonic() - began < 30


async def test_links_are_fetched_by_the_guarded_fetcher_or_not_at_all(make_proxy, upstream):
    proxy = await make_proxy({**tables(upstream), "upstream": {"fetch_links": "nowhere"}})
    content = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/cat.png"}}]

    answer = await proxy.post(
        "/chat/completions", {"model": "litellm/anthropic/x", "messages": [{"role": "user", "content": content}]}
    )

    assert answer.status == 400
    assert upstream.requests == []


async def test_an_error_mid_stream_is_reported_in_the_stream(make_proxy, upstream):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream.says(*events(*EVENTS[:3], error))
    proxy = await make_proxy(tables(upstream))

    answer = await proxy.chat("litellm/anthropic/claude-x", "hi", stream=True)

    assert answer.text == "hel"
    assert "Overloaded" in answer.error["message"]


async def test_a_client_that_leaves_ends_the_upstreams_stream(make_proxy, upstream):
    upstream.says(*events()[:3], *[0.05, events(EVENTS[2])[0]] * 200)
    proxy = await make_proxy(tables(upstream))
    body = {"model": "litellm/anthropic/x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}

    headers = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream(
        "POST", proxy.url + "/chat/completions", json=body, headers=headers, timeout=60
    ) as response:
        async for _ in response.aiter_bytes():
            break

    async with asyncio.timeout(20):
        await upstream.last.left.wait()


async def test_models_are_listed_under_their_prefix(make_proxy, upstream):
    settings = tables(upstream)
    settings["providers"]["litellm-anthropic"]["models"] = ["claude-x"]
    proxy = await make_proxy(settings)

    listed = (await proxy.get("/models")).json["data"]

    assert "litellm/anthropic/claude-x" in [card["id"] for card in listed]
    assert (await proxy.get("/models/litellm/anthropic/claude-x")).status == 200


async def test_a_public_model_may_be_one_of_litellms(make_proxy, upstream):
    upstream.responds(200, MESSAGE)
    proxy = await make_proxy({**tables(upstream), "models": {"best": ["litellm/anthropic/claude-x"]}})

    assert (await proxy.chat("best", "hi")).text == "hello"


@pytest.mark.parametrize("name", ["model", "messages", "mock_response", "callbacks", "fallbacks", "num_retries"])
async def test_settings_cannot_say_what_a_request_says(make_proxy, upstream, name):
    settings = tables(upstream, **{name: "x"})
    settings["plugins"]["required"] = ["litellm"]

    with pytest.raises(SetupError, match=name):
        await make_proxy(settings)


async def test_providers_may_be_a_list_of_names(make_proxy):
    proxy = await make_proxy({}, environ={"PROXY_PLUGINS__LITELLM__PROVIDERS": "cohere, bedrock"})

    assert {"litellm-cohere", "litellm-bedrock"} <= set(proxy.proxy.catalog.providers)


COHERES = {
    "id": "1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "hello"}]},
    "usage": {"tokens": {"input_tokens": 3, "output_tokens": 1}},
}


async def test_a_key_alone_makes_a_provider_work_under_its_own_name(make_proxy, upstream, monkeypatch):
    monkeypatch.setenv("COHERE_API_BASE", upstream.url + "/chat")  # litellm's own variable
    upstream.responds(200, COHERES)
    proxy = await make_proxy({}, environ={"COHERE_API_KEY_1": KEY})

    answer = await proxy.chat("cohere/command-r", "hi")

    assert (answer.status, answer.text) == (200, "hello")
    assert upstream.last.headers["authorization"] == f"Bearer {KEY}"
    assert upstream.last.json["model"] == "command-r"


async def test_without_its_own_plugin_a_provider_goes_through_litellm(make_proxy):
    proxy = await make_proxy({"plugins": {"disabled": ["anthropic"]}}, environ={"ANTHROPIC_API_KEY": KEY})

    assert proxy.proxy.catalog.owner("proxy_providers", "anthropic") == "litellm"


def test_the_names_are_litellms():
    from litellm import LlmProviders

    assert {*KEY_ONLY, *OWN_PLUGINS} <= {provider.value for provider in LlmProviders}


async def test_a_client_that_leaves_at_the_end_marker_has_not_left_early(make_proxy, upstream):
    upstream.says(*events())
    seen = []

    async def observe(record):
        seen.append(record)

    watching = plugin_with(proxy_observers=[Observer(name="watching", observe=observe)])
    proxy = await make_proxy(tables(upstream), modules=[watching])
    body = {"model": "litellm/anthropic/x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}

    headers = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream(
        "POST", proxy.url + "/chat/completions", json=body, headers=headers, timeout=60
    ) as response:
        async for piece in response.aiter_raw():
            if b"[DONE]" in piece:
                break

    async with asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0.01)
    assert seen[0].outcome == "completed"


async def test_a_newer_table_can_be_fetched(make_proxy, upstream):
    table = {"anthropic/new-model": {"litellm_provider": "anthropic", "mode": "chat", "max_input_tokens": 4321}}
    upstream.for_path("/table.json").responds(200, table)
    settings = tables(upstream)
    settings["plugins"]["litellm"]["table_url"] = upstream.url + "/table.json"
    settings["plugins"]["litellm"]["table_every_s"] = 60
    settings["providers"]["litellm-anthropic"]["models"] = ["new-model"]
    proxy = await make_proxy(settings)

    async with asyncio.timeout(20):
        while (card := (await proxy.get("/models/litellm/anthropic/new-model")).json).get("context_length") is None:
            await asyncio.sleep(0.02)

    assert card["context_length"] == 4321
