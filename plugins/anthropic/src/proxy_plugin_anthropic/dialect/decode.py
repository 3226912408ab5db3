"""Requests of Anthropic's format: JSON of ``/v1/messages`` to the common form. Errors name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from proxy_core import (
    BadRequest,
    ChatRequest,
    FunctionTool,
    HostedTool,
    JsonObject,
    ReasoningOptions,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
)
from proxy_core.dialects.common import (
    missing,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    wrong_type,
)
from proxy_core.dialects.shapes import check_shape
from proxy_plugin_anthropic.dialect.common import NAME, continues_thread
from proxy_plugin_anthropic.dialect.decode_messages import decode_messages, decode_system
from proxy_plugin_anthropic.dialect.errors import ThreadNotFound
from proxy_plugin_anthropic.dialect.headers import take_headers
from proxy_plugin_anthropic.dialect.shape import request_shape

#: Top-level fields with a field in the common form; all others are kept in ``extra``.
_NAMED = frozenset(
    "model messages system stream max_tokens stop_sequences temperature top_p top_k tools tool_choice thinking "
    "output_config metadata service_tier".split()
)
#: Fields that change what the model sees or can do, and that no other format has.
ONLY_HERE = ("container", "mcp_servers")
_TOOL_NAMED = frozenset({"type", "name", "description", "input_schema", "strict"})
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
#: Types of tools that Anthropic runs itself; others (a shell, an editor) the client runs, and the model must know them.
_RUN_THERE = ("web_search_", "web_fetch_", "code_execution_", "tool_search_", "mcp_toolset", "advisor_")
_TIERS = {"standard_only": "default"}
#: The longest identifier of a user that other services accept.
_MAX_USER = 64
_LEAST_BUDGET = 1_024
#: More than 31 bits no service reads; what a model can write is for the upstream to judge.
_MOST_TOKENS = 2**31 - 1


def decode(body: JsonObject) -> ChatRequest:
    """Decode a checked body to the common form. Raises ``BadRequest`` naming the field."""
    body, _, _ = take_headers(body)
    check_shape(body, request_shape(), dotted=True)
    for name in ONLY_HERE:
        if body.get(name):
            raise BadRequest(f"{name}: not available for this model.", param=name)
    if continues_thread(body):
        raise ThreadNotFound
    choice, tools = body.get("tool_choice"), _tools(body.get("tools") or [])
    output = body.get("output_config") or {}
    tier = optional_str(body, "service_tier")
    return ChatRequest(
        model=require_model(body),
        messages=[*decode_system(body.get("system")), *decode_messages(body["messages"])],
        dialect=NAME,
        stream=body.get("stream") is True,
        include_usage=True,
        tools=tools,
        tool_choice=None if choice is None else _choice(choice, tools),
        parallel_tool_calls=False if choice is not None and choice.get("disable_parallel_tool_use") else None,
        response_format=_format(output),
        reasoning=_reasoning(body.get("thinking"), output),
        sampling=_sampling(body),
        user=_user(body.get("metadata") or {}),
        service_tier=_TIERS.get(tier, tier) if tier is not None else None,
        extra={name: value for name, value in body.items() if name not in _NAMED and value is not None},
    )


def decode_strictly(body: JsonObject) -> ChatRequest:
    """:func:`decode`, which also refuses tools that only Anthropic could run."""
    chat = decode(body)
    for index, tool in enumerate(chat.tools):
        if isinstance(tool, HostedTool):
            at = f"tools.{index}"
            raise BadRequest(f"{at}: tools of type {tool.name!r} are not available for this model.", param=at)
    return chat


def _sampling(body: JsonObject) -> Sampling:
    limit = optional_int(body, "max_tokens")
    if limit is None:
        raise missing("max_tokens")
    if limit < 1:
        raise wrong_type("max_tokens", "greater than or equal to 1 for this model")
    if limit > _MOST_TOKENS:
        raise wrong_type("max_tokens", f"less than or equal to {_MOST_TOKENS}")
    return Sampling(
        max_tokens=limit,
        temperature=optional_float(body, "temperature"),
        top_p=optional_float(body, "top_p"),
        top_k=optional_int(body, "top_k"),
        stop=tuple(body.get("stop_sequences") or ()),
    )


def _user(metadata: JsonObject) -> str | None:
    """Claude Code's is a long text; other services take short ones, which only have to be the same each time."""
    user: str | None = metadata.get("user_id")
    if user is None or len(user) <= _MAX_USER:
        return user or None
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _reasoning(thinking: JsonObject | None, output: JsonObject) -> ReasoningOptions | None:
    """A budget as an effort, too, for services that have no budgets."""
    effort = output.get("effort")
    if thinking is None:
        return ReasoningOptions(effort=effort) if effort else None
    include = False if thinking.get("display") == "omitted" else None
    match thinking.get("type"):
        case None:
            raise missing("thinking.type")
        case "disabled":
            return ReasoningOptions(mode="off")
        case "enabled":
            budget = optional_int(thinking, "budget_tokens", "thinking.")
            if budget is None:
                raise missing("thinking.budget_tokens")
            if budget < _LEAST_BUDGET:
                raise wrong_type("thinking.budget_tokens", f"greater than or equal to {_LEAST_BUDGET}")
            return ReasoningOptions(effort=effort or _effort(budget), budget_tokens=budget, mode="on", include=include)
        case _:
            return ReasoningOptions(effort=effort or "medium", mode="adaptive", include=include)


def _effort(budget: int) -> str:
    return "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"


def _format(output: JsonObject) -> ResponseFormat | None:
    wanted = output.get("format")
    if wanted is None:
        return None
    if wanted.get("type") is None:
        raise missing("output_config.format.type")
    if (schema := wanted.get("schema")) is None:
        raise missing("output_config.format.schema")
    return ResponseFormat(kind="json_schema", name="reply", schema=schema)


def _tools(found: Sequence[JsonObject]) -> list[Tool]:
    return [_tool(tool, f"tools.{index}") for index, tool in enumerate(found)]


def _tool(tool: JsonObject, at: str) -> Tool:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        return HostedTool(dialect=NAME, payload=tool, optional=str(kind).startswith(_RUN_THERE))
    if not (name := tool.get("name")):
        raise missing(f"{at}.name")
    return FunctionTool(
        name=name,
        description=tool.get("description"),
        parameters=_rooted(tool.get("input_schema")),
        strict=tool.get("strict"),
        extra={key: value for key, value in tool.items() if key not in _TOOL_NAMED},
    )


def _rooted(schema: Mapping[str, Any] | None) -> JsonObject:
    """The schema of an object, which is what other services require of a tool without parameters as well."""
    return {"type": "object", "properties": {}, **(schema or {})}


def _choice(choice: JsonObject, tools: Sequence[Tool]) -> ToolChoice:
    hosted = [tool.payload.get("name") for tool in tools if isinstance(tool, HostedTool)]
    match choice:
        case {"type": "tool", "name": str(name)} if name in hosted:
            return ToolChoice(mode="required", hosted=name)
        case {"type": "tool", "name": str(name)}:
            return ToolChoice(mode="required", names=(name,))
        case {"type": "auto" | "any" | "none" as mode}:
            return ToolChoice(mode=_CHOICES[mode])  # type: ignore[arg-type]  # the values are modes
        case _:
            raise missing(f"tool_choice.{'name' if choice.get('type') == 'tool' else 'type'}")
