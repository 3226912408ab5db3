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
    optional_bool,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    wrong_type,
)
from proxy_plugin_anthropic.dialect.common import NAME
from proxy_plugin_anthropic.dialect.decode_messages import decode_messages, decode_system
from proxy_plugin_anthropic.dialect.headers import take_headers

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


def decode(body: JsonObject) -> ChatRequest:
    """Decode a checked body to the common form. Raises ``BadRequest`` naming the field."""
    body, _, _ = take_headers(body)
    for name in ONLY_HERE:
        if body.get(name):
            raise BadRequest(f"{name}: not available for this model.", param=name)
    choice, tools = _object(body, "tool_choice"), _tools(body.get("tools"))
    output = _object(body, "output_config")
    tier = optional_str(body, "service_tier")
    return ChatRequest(
        model=require_model(body),
        messages=[*decode_system(body.get("system")), *decode_messages(body["messages"])],
        dialect=NAME,
        stream=body.get("stream") is True,
        include_usage=True,
        tools=tools,
        tool_choice=_choice(choice, tools),
        parallel_tool_calls=False if choice.get("disable_parallel_tool_use") is True else None,
        response_format=_format(output),
        reasoning=_reasoning(_object(body, "thinking"), output),
        sampling=_sampling(body),
        user=_user(_object(body, "metadata")),
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


def _object(body: JsonObject, name: str) -> JsonObject:
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise wrong_type(name, "an object")
    return value or {}


def _sampling(body: JsonObject) -> Sampling:
    stop = body.get("stop_sequences") or []
    if not isinstance(stop, list) or not all(isinstance(s, str) for s in stop):
        raise wrong_type("stop_sequences", "an array of strings")
    limit = optional_int(body, "max_tokens")
    if limit is not None and limit < 1:
        raise wrong_type("max_tokens", "greater than or equal to 1 for this model")
    return Sampling(
        max_tokens=limit,
        temperature=optional_float(body, "temperature"),
        top_p=optional_float(body, "top_p"),
        top_k=optional_int(body, "top_k"),
        stop=tuple(stop),
    )


def _user(metadata: JsonObject) -> str | None:
    """Claude Code's is a long text; other services take short ones, which only have to be the same each time."""
    user = metadata.get("user_id")
    if not isinstance(user, str | None):
        raise wrong_type("metadata.user_id", "a string")
    if user is None or len(user) <= _MAX_USER:
        return user or None
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _reasoning(thinking: JsonObject, output: JsonObject) -> ReasoningOptions | None:
    """A budget as an effort, too, for services that have no budgets."""
    effort = optional_str(output, "effort", "output_config.")
    include = False if thinking.get("display") == "omitted" else None
    match thinking.get("type"):
        case None:
            return ReasoningOptions(effort=effort) if effort else None
        case "disabled":
            return ReasoningOptions(mode="off")
        case "enabled":
            at = "thinking.budget_tokens"
            budget = optional_int({at: thinking.get("budget_tokens")}, at)
            if budget is None:
                raise missing(at)
            return ReasoningOptions(
                effort=effort or _effort(budget), budget_tokens=max(0, budget), mode="on", include=include
            )
        case _:
            return ReasoningOptions(effort=effort or "medium", mode="adaptive", include=include)


def _effort(budget: int) -> str:
    return "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"


def _format(output: JsonObject) -> ResponseFormat | None:
    wanted = output.get("format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        raise wrong_type("output_config.format", "an object of type 'json_schema'")
    if not isinstance(schema := wanted.get("schema"), dict):
        raise missing("output_config.format.schema")
    return ResponseFormat(kind="json_schema", name="reply", schema=schema)


def _tools(found: object) -> list[Tool]:
    if found is None:
        return []
    if not isinstance(found, list):
        raise wrong_type("tools", "an array")
    return [_tool(tool, f"tools.{index}") for index, tool in enumerate(found)]


def _tool(tool: object, at: str) -> Tool:
    if not isinstance(tool, dict):
        raise wrong_type(at, "an object")
    kind = optional_str(tool, "type", f"{at}.")
    if kind not in (None, "custom"):
        return HostedTool(dialect=NAME, payload=tool, optional=str(kind).startswith(_RUN_THERE))
    schema = tool.get("input_schema")
    if not isinstance(schema, dict | None):
        raise wrong_type(f"{at}.input_schema", "an object")
    if not (name := optional_str(tool, "name", f"{at}.")):
        raise missing(f"{at}.name")
    return FunctionTool(
        name=name,
        description=optional_str(tool, "description", f"{at}."),
        parameters=_rooted(schema),
        strict=optional_bool(tool, "strict"),
        extra={key: value for key, value in tool.items() if key not in _TOOL_NAMED},
    )


def _rooted(schema: Mapping[str, Any] | None) -> JsonObject:
    """The schema of an object, which is what other services require of a tool without parameters as well."""
    return {"type": "object", "properties": {}, **(schema or {})}


def _choice(choice: JsonObject, tools: Sequence[Tool]) -> ToolChoice | None:
    hosted = [tool.payload.get("name") for tool in tools if isinstance(tool, HostedTool)]
    match choice:
        case {"type": "tool", "name": str(name)} if name in hosted:
            return ToolChoice(mode="required", hosted=name)
        case {"type": "tool", "name": str(name)}:
            return ToolChoice(mode="required", names=(name,))
        case {"type": "auto" | "any" | "none" as mode}:
            return ToolChoice(mode=_CHOICES[mode])  # type: ignore[arg-type]  # the values are modes
        case {}:
            if choice:
                raise wrong_type("tool_choice.type", "'auto', 'any', 'none' or 'tool' with a name")
            return None
