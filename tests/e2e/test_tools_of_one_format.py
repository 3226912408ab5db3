"""Tools that only one format has: the vendor's own may be left out, those that the client runs itself may not."""

import pytest

from proxy_core.testing import chunk

SAID = [{"role": "user", "content": "hi"}]
MODELS = {
    "openai_chat": "up/m",
    "openai_responses": "responses/m",
    "anthropic_messages": "anthropic/m",
    "gemini": "gemini/m",
}
#: By format: tools that the client runs.
RUN_BY_CLIENTS = {
    "anthropic_messages": [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 800, "display_height_px": 600},
    ],
    "openai_responses": [
        {"type": "local_shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "apply_patch"},
        {"type": "computer"},
        {"type": "computer_use_preview", "display_width": 800, "display_height": 600, "environment": "linux"},
    ],
    "gemini": [{"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}],
    "openai_chat": [{"type": "builtin_function", "builtin_function": {"name": "$shell"}}],
}
PAIRS = [
    pytest.param(client, tool, model, id=f"{tool.get('type') or next(iter(tool))}-{upstream}")
    for client, tools in RUN_BY_CLIENTS.items()
    for tool in tools
    for upstream, model in MODELS.items()
    if upstream != client
]
RUN_BY_VENDORS = [
    ("anthropic_messages", {"type": "web_search_20250305", "name": "web_search"}),
    ("openai_responses", {"type": "web_search", "external_web_access": False}),
]


def request(client, tool, model):
    tools = [tool]
    return {
        "openai_chat": ("/chat/completions", {"model": model, "messages": SAID, "tools": tools}),
        "openai_responses": ("/responses", {"model": model, "input": "hi", "tools": tools}),
        "anthropic_messages": ("/messages", {"model": model, "messages": SAID, "max_tokens": 10, "tools": tools}),
        "gemini": (
            f"/../v1beta/models/{model}:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": tools},
        ),
    }[client]


@pytest.fixture
async def proxy(make_proxy, upstream):
    """With a provider of each format."""
    at = {"base_url": upstream.url, "api_keys": ["key-a"]}
    providers = {
        "up": at,
        "responses": {**at, "dialects": ["openai_responses"]},
        "anthropic": at,
        "gemini": at,
    }
    return await make_proxy({"providers": providers})


@pytest.mark.parametrize(("client", "tool", "model"), PAIRS)
async def test_a_tool_that_the_client_runs_is_refused_by_name(proxy, upstream, client, tool, model):
    answer = await proxy.post(*request(client, tool, model))

    assert answer.status == 400, answer.body
    assert f"'{tool.get('type') or next(iter(tool))}'" in answer.json["error"]["message"]
    assert [seen for seen in upstream.requests if not seen.path.endswith("/models")] == []


@pytest.mark.parametrize(("client", "tool"), RUN_BY_VENDORS)
async def test_a_tool_that_the_vendor_runs_is_left_out_by_name(proxy, upstream, client, tool):
    upstream.says(chunk({"content": "hello"}, finish="stop"), b"data: [DONE]\n\n")

    path, body = request(client, tool, MODELS["openai_chat"])
    answer = await proxy.post(path, {**body, "stream": True})

    assert answer.status == 200
    assert answer.headers["x-proxy-dropped"] == f"tools[].{tool['type']}"
    assert "tools" not in upstream.last.json
