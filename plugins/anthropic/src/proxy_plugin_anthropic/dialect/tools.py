"""Encode tools and their choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from proxy_core import BadRequest, ChatRequest, CustomTool, FunctionTool, HostedTool, JsonObject
from proxy_core.dialects.common import left_out, without_none
from proxy_plugin_anthropic.dialect.common import NAME
from proxy_plugin_anthropic.dialect.names import NameTable
from proxy_plugin_anthropic.dialect.parts import extras
from proxy_plugin_anthropic.dialect.tool_schema import input_schema

_MODES = {"auto": "auto", "required": "any", "none": "none"}
_ONE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def encode_tools(chat: ChatRequest, names: NameTable, dropped: list[str]) -> list[JsonObject]:
    """If names repeat, the first is used. Of those that other services run, only the names are left: in ``dropped``."""
    own = chat.dialect == NAME
    declared: dict[str, JsonObject] = {}
    hosted: list[JsonObject] = []
    for tool in chat.tools:
        match tool:
            case FunctionTool():
                name = names.to_upstream(tool.name, tool.namespace)
                declared.setdefault(name, _function(tool, name, own=own))
            case CustomTool():
                name = names.to_upstream(tool.name, tool.namespace)
                declared.setdefault(name, _custom(tool, name))
            case HostedTool():
                if tool.dialect == NAME:
                    hosted.append(dict(tool.payload))
                else:
                    dropped.append(left_out(tool))
            case _:
                assert_never(tool)
    return [*declared.values(), *hosted]


def _function(tool: FunctionTool, name: str, *, own: bool) -> JsonObject:
    head = without_none(name=name, description=tool.description or None, strict=tool.strict if own else None)
    return {**_tool_extras(tool.extra, own=own), **head, "input_schema": input_schema(tool.parameters)}


def _tool_extras(extra: Mapping[str, Any], *, own: bool) -> JsonObject:
    """OpenAI's clients put their mark for the cache into the tool or into its function."""
    places = [extra] if own else [extra, *(extra.get(key) for key in ("function", "tool"))]
    out: JsonObject = {}
    for place in places:
        out |= extras(place, own=own) if isinstance(place, Mapping) else {}
    return out


def _custom(tool: CustomTool, name: str) -> JsonObject:
    """A tool with one text as its input; a grammar can only be described in words."""
    description = tool.description or ""
    if tool.grammar:
        rule = f"The input must follow this {tool.grammar.get('syntax')} grammar:\n{tool.grammar.get('definition')}"
        description = f"{description}\n\n{rule}".strip()
    return {**without_none(name=name, description=description or None), "input_schema": _ONE_TEXT}


def encode_choice(
    chat: ChatRequest, names: NameTable, tools: Sequence[JsonObject]
) -> tuple[Sequence[JsonObject], JsonObject | None]:
    """The tools that may be called, and ``tool_choice``. Raises ``BadRequest`` for a choice of an unknown tool."""
    choice = chat.tool_choice
    if choice is not None and choice.hosted is not None:
        raise BadRequest(f"This model does not have the tool {choice.hosted!r}.", param="tool_choice")
    wanted = [_sent(chat, name, names, tools) for name in choice.names] if choice is not None else []
    if not tools:
        return tools, None
    mode = choice.mode if choice is not None else "auto"
    out: JsonObject = {"type": _MODES[mode]}
    if wanted and mode == "required" and len(wanted) == 1:
        out = {"type": "tool", "name": wanted[0]}
    elif wanted:
        tools = [tool for tool in tools if tool.get("name") in wanted]
    if chat.parallel_tool_calls is False and mode != "none":
        out["disable_parallel_tool_use"] = True
    return tools, out if choice is not None or len(out) > 1 else None


def _sent(chat: ChatRequest, name: str, names: NameTable, tools: Sequence[JsonObject]) -> str:
    spaces = [t.namespace for t in chat.tools if isinstance(t, FunctionTool | CustomTool) and t.name == name]
    sent = names.to_upstream(name, spaces[0] if spaces else None)
    if not any(tool.get("name") == sent for tool in tools):
        raise BadRequest(
            f"'tool_choice' names {name!r}, which is not among the tools.", param="tool_choice", code="invalid_value"
        )
    return sent
