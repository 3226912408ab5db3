"""Tools and their choice, as Gemini takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from proxy_core import BadRequest, ChatRequest, CustomTool, FunctionTool, HostedTool, JsonObject, Tool
from proxy_core.dialects.common import without_none
from proxy_plugin_gemini.dialect.common import NAME
from proxy_plugin_gemini.dialect.names import NameTable
from proxy_plugin_gemini.dialect.schema import clean_parameters, upper_types


def encode_tools(tools: Sequence[Tool], names: NameTable, schemas: str, dropped: list[str]) -> list[JsonObject]:
    """All functions in one object, as the backend wants them; of one name the first counts."""
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
                    dropped.append(f"tools[].{tool.payload.get('type')}")
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
    """A function with the tool's text as its one argument; a grammar can only be told."""
    description = tool.description or ""
    if tool.grammar:
        told = f"The input must follow this {tool.grammar.get('syntax')} grammar:\n{tool.grammar.get('definition')}"
        description = f"{description}\n\n{told}".strip()
    schema: JsonObject = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    if schemas == "parameters":
        schema = upper_types(schema)
    return without_none(name=name, description=description or None, **{schemas: schema})


def encode_choice(chat: ChatRequest, names: NameTable, tools: Sequence[JsonObject]) -> JsonObject | None:
    """``toolConfig``. Raises ``BadRequest`` for a choice among tools that are not there."""
    own = chat.extra.get("toolConfig") if chat.dialect == NAME else None
    carried = {k: v for k, v in own.items() if k != "functionCallingConfig"} if isinstance(own, dict) else {}
    choice = chat.tool_choice
    declared = {f["name"] for tool in tools for f in tool.get("functionDeclarations", ())}
    if choice is None or (not declared and not choice.names and choice.hosted is None):
        return carried or None
    if choice.hosted is not None:
        raise BadRequest(f"The tool {choice.hosted!r} cannot be forced with this model.", param="tool_choice")
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
