"""Encode tools and tool choice for Gemini."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from proxy_core import BadRequest, ChatRequest, CustomTool, FunctionTool, HostedTool, JsonObject, Tool
from proxy_core.dialects.common import left_out, without_none
from proxy_plugin_gemini.dialect.common import NAME
from proxy_plugin_gemini.dialect.names import NameTable
from proxy_plugin_gemini.dialect.schema import clean_parameters, upper_types


def encode_tools(tools: Sequence[Tool], names: NameTable, schemas: str, dropped: list[str]) -> list[JsonObject]:
    """All functions in one object, as the backend requires; if names repeat, the first is used."""
    declared: dict[str, JsonObject] = {}
    hosted: list[JsonObject] = []
    for tool in tools:
        match tool:
            case FunctionTool():
                name = names.to_gemini(tool.name, tool.namespace)
                if name not in declared:
                    declared[name] = _function(tool, name, schemas)
            case CustomTool():
                name = names.to_gemini(tool.name, tool.namespace)
                declared.setdefault(name, _custom(tool, name, schemas))
            case HostedTool():
                if tool.dialect == NAME:
                    hosted.append(dict(tool.payload))
                else:
                    dropped.append(left_out(tool))
            case _:
                assert_never(tool)
    functions = [{"functionDeclarations": list(declared.values())}] if declared else []
    return [*functions, *hosted]


def _function(tool: FunctionTool, name: str, schemas: str) -> JsonObject:
    schema = clean_parameters(tool.parameters)
    if schema is not None and schemas == "parameters":
        schema = upper_types(schema)
    return without_none(name=name, description=tool.description, **{schemas: schema})


def _custom(tool: CustomTool, name: str, schemas: str) -> JsonObject:
    """A function with the tool's text as its only argument; a grammar can only be described in words."""
    description = tool.description or ""
    if tool.grammar:
        rule = f"The input must follow this {tool.grammar.get('syntax')} grammar:\n{tool.grammar.get('definition')}"
        description = f"{description}\n\n{rule}".strip()
    schema: JsonObject = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    if schemas == "parameters":
        schema = upper_types(schema)
    return without_none(name=name, description=description or None, **{schemas: schema})


def encode_choice(chat: ChatRequest, names: NameTable, tools: Sequence[JsonObject]) -> JsonObject | None:
    """``toolConfig``. Raises ``BadRequest`` if the choice names a tool that the request does not have."""
    own = chat.extra.get("toolConfig") if chat.dialect == NAME else None
    carried = {k: v for k, v in own.items() if k != "functionCallingConfig"} if isinstance(own, dict) else {}
    choice = chat.tool_choice
    declared = {f["name"] for tool in tools for f in tool.get("functionDeclarations", ())}
    if choice is None or (not declared and not choice.names and choice.hosted is None):
        return carried or None
    if choice.hosted is not None:
        raise BadRequest(f"This model does not support forcing the tool {choice.hosted!r}.", param="tool_choice")
    wanted = [_declared(chat, name, names, declared) for name in choice.names]
    modes = {"auto": "VALIDATED" if wanted else "AUTO", "required": "ANY", "none": "NONE"}
    config = without_none(mode=modes[choice.mode], allowedFunctionNames=wanted or None)
    return {**carried, "functionCallingConfig": config}


def _declared(chat: ChatRequest, name: str, names: NameTable, declared: set[str]) -> str:
    spaces = [t.namespace for t in chat.tools if isinstance(t, FunctionTool | CustomTool) and t.name == name]
    sent = names.to_gemini(name, spaces[0] if spaces else None)
    if sent not in declared:
        raise BadRequest(
            f"'tool_choice' names {name!r}, which is not among the tools.", param="tool_choice", code="invalid_value"
        )
    return sent
