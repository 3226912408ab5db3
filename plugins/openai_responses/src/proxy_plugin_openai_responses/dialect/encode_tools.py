"""Tools and the choice among them, for an upstream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from proxy_core import BadRequest, ChatRequest, CustomTool, Extra, FunctionTool, HostedTool, JsonObject, Tool
from proxy_core.dialects.common import left_out, without_none
from proxy_plugin_openai_responses.dialect.common import NAME


def encode_tools(chat: ChatRequest) -> list[JsonObject]:
    """Functions and custom tools, those of a namespace inside it, and this format's own hosted tools."""
    out: list[JsonObject] = []
    spaces: dict[str, JsonObject] = {}
    for tool in chat.tools:
        found = _encode(tool, chat.dialect)
        if found is None:
            continue
        space = tool.namespace if not isinstance(tool, HostedTool) else None
        if space is None:
            out.append(found)
        elif space in spaces:
            spaces[space]["tools"].append(found)
        else:
            spaces[space] = {"type": "namespace", "name": space, "tools": [found]}
            out.append(spaces[space])
    return out


def _encode(tool: Tool, dialect: str) -> JsonObject | None:
    own = dialect == NAME
    match tool:
        case FunctionTool():
            # In this format a function is strict unless it says otherwise, in others it is the other way round.
            strict = tool.strict if own else bool(tool.strict)
            spec = without_none(name=tool.name, description=tool.description, strict=strict)
            parameters = tool.parameters if own else _object_schema(tool.parameters)
            return {**(tool.extra if own else {}), "type": "function", **spec, "parameters": parameters}
        case CustomTool():
            style = {"type": "grammar", **tool.grammar} if tool.grammar else None
            spec = without_none(name=tool.name, description=tool.description, format=style)
            return {**(tool.extra if own else {}), "type": "custom", **spec}
        case HostedTool():
            if tool.dialect == NAME:
                return dict(tool.payload)
            left_out(tool)
            return None
        case _:
            assert_never(tool)


def _object_schema(schema: Extra | None) -> Extra:
    """The root of a schema must say that it is an object, and of which properties."""
    if schema is None:
        return {"type": "object", "properties": {}}
    return {**({} if "properties" in schema else {"properties": {}}), **schema, "type": "object"}


def encode_choice(chat: ChatRequest, any_tools: bool) -> object:
    """``any_tools`` are sent. Raises ``BadRequest`` if a tool is forced that this format does not have."""
    choice = chat.tool_choice
    if choice is None:
        return None
    if choice.hosted is not None and chat.dialect == NAME:
        return {"type": choice.hosted}
    forced = choice.hosted or (next(unsent_tools(chat), None) if choice.mode == "required" and not any_tools else None)
    if forced is not None:
        raise BadRequest(f"This model does not support forcing the tool {forced!r}.", param="tool_choice")
    if not any_tools:
        return None
    if not choice.names:
        return choice.mode
    custom = {tool.name for tool in chat.tools if isinstance(tool, CustomTool)}
    named = [{"type": "custom" if name in custom else "function", "name": name} for name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def unsent_tools(chat: ChatRequest) -> Iterator[str]:
    """Tools that another vendor runs."""
    for tool in chat.tools:
        if isinstance(tool, HostedTool) and tool.dialect != NAME:
            yield f"tools[].{tool.name}"
