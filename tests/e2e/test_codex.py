"""What Codex sends, as captured from it, in front of providers that speak other formats."""

import json

import openai
import pytest
from openai.types.responses import Response

from proxy_core.testing import chunk
from proxy_plugin_gemini.testing import FakeGemini, call, finish, text

GEMINI = "gemini/gemini-3-pro-preview"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'}
SHELL = {
    "type": "function",
    "name": "exec_command",
    "description": "Runs it.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
}
SPAWN = {**SHELL, "name": "spawn_agent"}
LATE = {**SHELL, "name": "late_tool", "defer_loading": True}
TOOLS = [
    SHELL,
    {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR},
    {"type": "namespace", "name": "multi_agent_v1", "description": "Other agents.", "tools": [SPAWN]},
    {
        "type": "tool_search",
        "execution": "client",
        "description": "Finds tools.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
    {"type": "web_search", "external_web_access": False},
]
BODY = {
    "stream": True,
    "store": False,
    "tools": TOOLS,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "text": {"verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "00000000-0000-0000-0000-000000000000",
    "client_metadata": {"session_id": "s"},
}
CONVERSATION = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Edit it."}]},
]


@pytest.fixture
async def google():
    async with FakeGemini() as running:
        yield running


@pytest.fixture
async def codex(make_proxy, upstream, google):
    proxy = await make_proxy(
        {
            "providers": {"demo": {"base_url": upstream.url, "api_keys": ["k"]}, "gemini": google.provider},
            "routing": {"max_wait_s": 0, "max_attempts": 1},
        }
    )
    return Codex(proxy)


class Codex:
    """Takes items from ``response.output_item.done``, as Codex does, and returns all of them with the next request."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.history = list(CONVERSATION)

    async def turn(self, model, *more):
        self.history += more
        body = {**BODY, "model": model, "input": self.history}
        answer = await self.proxy.client.post(
            f"{self.proxy.url}/responses",
            json=body,
            headers={"authorization": f"Bearer {self.proxy.key}", "accept": "text/event-stream"},
        )
        if answer.status_code != 200:
            return answer
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events[-1]["type"] == "response.completed", events[-1]
        items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert items == events[-1]["response"]["output"]
        Response.model_validate(events[-1]["response"])
        self.history += [_as_codex_keeps_it(item) for item in items]
        return items


def _as_codex_keeps_it(item):
    return {**item, "content": None} if item["type"] == "reasoning" else item


def called(index, call_id, name, arguments):
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})


PATCH = "*** Begin Patch\n*** End Patch"
FOUND = {"type": "tool_search_output", "execution": "client", "status": "completed", "tools": [LATE]}


def outputs(items):
    """The results of all calls."""
    for item in items:
        call_id = item.get("call_id")
        match item["type"]:
            case "function_call":
                yield {"type": "function_call_output", "call_id": call_id, "output": "done"}
            case "custom_tool_call":
                yield {"type": "custom_tool_call_output", "call_id": call_id, "output": "Success."}
            case "tool_search_call":
                yield {**FOUND, "call_id": call_id}


async def test_every_kind_of_tool_in_front_of_openais_chat_format(codex, upstream):
    upstream.says(
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk({"content": "I will."}),
        called(0, "c0", "exec_command", '{"cmd":"ls"}'),
        called(1, "c1", "apply_patch", json.dumps({"input": PATCH})),
        called(2, "c2", "multi_agent_v1__spawn_agent", '{"cmd":"x"}'),
        called(3, "c3", "tool_search", '{"query":"late"}'),
        chunk({}, finish="tool_calls"),
    )
    upstream.says(called(0, "c4", "late_tool", '{"cmd":"y"}'), chunk({}, finish="tool_calls"))
    upstream.streams("Done.")

    items = await codex.turn("demo/small")

    first = upstream.last.json
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    names = ["exec_command", "apply_patch", "multi_agent_v1__spawn_agent", "tool_search"]
    assert [tool["function"]["name"] for tool in first["tools"]] == names
    kinds = ["reasoning", "message", "function_call", "custom_tool_call", "function_call", "tool_search_call"]
    assert [item["type"] for item in items] == kinds
    assert items[3]["input"] == PATCH
    assert (items[4]["namespace"], items[4]["name"]) == ("multi_agent_v1", "spawn_agent")
    assert items[5]["arguments"] == {"query": "late"}

    (late,) = await codex.turn("demo/small", *outputs(items))

    second = upstream.last.json
    assert [tool["function"]["name"] for tool in second["tools"]] == [*names, "late_tool"]
    assert [m["role"] for m in second["messages"][2:]] == ["assistant", *["tool"] * 4]
    calls = second["messages"][2]["tool_calls"]
    assert [one["function"]["name"] for one in calls] == names
    assert json.loads(calls[1]["function"]["arguments"]) == {"input": PATCH}
    assert (late["name"], late["call_id"]) == ("late_tool", "c4")

    (message,) = await codex.turn("demo/small", *outputs([late]))
    assert message["content"][0]["text"] == "Done."


async def test_every_kind_of_tool_in_front_of_gemini(codex, google):
    google.answers(
        text("hm", thought=True),
        call("exec_command", {"cmd": "ls"}),
        call("apply_patch", {"input": PATCH}, signed=False),
        call("multi_agent_v1__spawn_agent", {"cmd": "x"}, signed=False),
        finish(),
    )
    google.answers(text("Done."), finish())

    items = await codex.turn(GEMINI)
    calls = [item for item in items if item["type"] != "reasoning"]

    assert [item["type"] for item in calls] == ["function_call", "custom_tool_call", "function_call"]
    assert calls[1]["input"] == PATCH
    assert calls[2]["namespace"] == "multi_agent_v1"
    assert items[0]["summary"][0]["text"] == "hm"

    (message,) = await codex.turn(GEMINI, *outputs(items))
    assert message["content"][0]["text"] == "Done."
    contents = google.called("enerateContent")[-1].json["contents"]
    parts = [part for content in contents for part in content["parts"] if "functionCall" in part]
    assert [part["functionCall"]["name"] for part in parts][:2] == ["exec_command", "apply_patch"]
    assert parts[0]["thoughtSignature"] in google.signatures


async def test_signatures_survive_a_restart(make_proxy, google):
    """The proxies are new, so that only what the client sends back can have the signature."""
    google.answers(call("exec_command", {"cmd": "ls"}), finish())
    google.answers(text("Done."), finish())
    tables = {"providers": {"gemini": google.provider}}
    codex = Codex(await make_proxy(tables))

    items = await codex.turn(GEMINI)
    codex.proxy = await make_proxy(tables)
    await codex.turn(GEMINI, *outputs(items))

    contents = google.called("enerateContent")[-1].json["contents"]
    (part,) = [part for content in contents for part in content["parts"] if "functionCall" in part]
    assert part["thoughtSignature"] in google.signatures


async def test_the_tools_that_nobody_here_runs_are_named(codex, upstream):
    upstream.streams("ok")
    await codex.turn("demo/small")
    answer = await codex.proxy.client.post(
        f"{codex.proxy.url}/responses",
        json={**BODY, "model": "demo/small", "input": "hi", "stream": False},
        headers={"authorization": f"Bearer {codex.proxy.key}"},
    )

    assert "tools[].web_search" in answer.headers["x-proxy-dropped"]


ERRORS = {
    "the context": (
        (400, {"error": {"message": "maximum context length", "code": "context_length_exceeded"}}, {}),
        (400, "context_length_exceeded", None),
    ),
    "a long cooldown": (
        (429, {"error": {"message": "wait"}}, {"retry-after": "900"}),
        (429, None, "usage_limit_reached"),
    ),
    "a credential that is refused": ((401, {"error": {"message": "bad key"}}, {}), (403, None, None)),
    "no credit": (
        (402, {"error": {"message": "pay", "code": "insufficient_quota"}}, {}),
        (403, "insufficient_quota", None),
    ),
    "overload": ((503, {"error": {"message": "busy"}}, {}), (503, "server_is_overloaded", None)),
}


@pytest.mark.parametrize(("said", "expected"), ERRORS.values(), ids=ERRORS)
async def test_errors_have_the_statuses_and_codes_that_codex_knows(codex, upstream, said, expected):
    status, body, headers = said
    upstream.responds(status, body, headers=headers)

    answer = await codex.turn("demo/small")

    status, code, kind = expected
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert code in (None, error["code"]), error
    assert kind in (None, error["type"]), error
    if kind == "usage_limit_reached":
        assert 800 < error["resets_in_seconds"] <= 900
        assert isinstance(error["resets_at"], int)


async def test_an_unknown_model_has_the_code_at_which_codex_stops(codex):
    answer = await codex.turn("gpt-unknown")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_limit_is_an_error_that_the_official_client_understands(codex, upstream):
    upstream.responds(429, {"error": {"message": "wait"}}, headers={"retry-after": "900"})
    async with openai.AsyncOpenAI(base_url=codex.proxy.url, api_key=codex.proxy.key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await client.responses.create(model="demo/small", input="hi")

    assert raised.value.type == "usage_limit_reached"
