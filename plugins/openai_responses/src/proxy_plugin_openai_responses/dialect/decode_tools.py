"""Tools and the choice among them, as clients declare them: at the top, in mid-history, or as a search result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from proxy_core import BadRequest, CustomTool, FunctionTool, HostedTool, JsonObject, Tool, ToolChoice
from proxy_core.dialects.common import flat_name, missing, optional_bool, optional_str, wrong_type
from proxy_plugin_openai_responses.dialect.common import NAME

TOOL_SEARCH = "tool_search"
Kind = Literal["function", "custom", "tool_search"]
#: Items of the history that declare tools.
_DECLARING = ("additional_tools", "tool_search_output")


class Declared(Struct, frozen=True):
    """A tool that the client runs, by the client's names."""

    name: str
    namespace: str | None = None
    kind: Kind = "function"


def decode_tools(body: JsonObject) -> list[Tool]:
    """Of several with one name, the first is used: those of the request itself precede those in its history."""
    tools: list[Tool] = []
    names = set()
    for at, tool in _all(body):
        for decoded in _decode_tool(tool, at):
            name = None if isinstance(decoded, HostedTool) else flat_name(decoded.name, decoded.namespace)
            if name is None or name not in names:
                tools.append(decoded)
            names.add(name)
    return tools


def table(body: Mapping[str, Any]) -> dict[str, Declared]:
    """The client's tools by the names that they have in a format without namespaces and custom tools."""
    found: dict[str, Declared] = {}
    for at, entry in _all(body):
        searches = entry.get("type") == TOOL_SEARCH
        for tool in _decode_tool(entry, at):
            if isinstance(tool, HostedTool):
                continue
            kind: Kind = "tool_search" if searches else "custom" if isinstance(tool, CustomTool) else "function"
            found.setdefault(flat_name(tool.name, tool.namespace), Declared(tool.name, tool.namespace, kind))
    return found


def _all(body: Mapping[str, Any]) -> Iterator[tuple[str, JsonObject]]:
    yield from _entries(body.get("tools"), "tools")
    items = body.get("input")
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if item.get("type") in _DECLARING:
            yield from _entries(item.get("tools"), f"input[{index}].tools")


def _entries(found: object, at: str) -> Iterator[tuple[str, JsonObject]]:
    if found is None:
        return
    if not isinstance(found, list):
        raise wrong_type(at, "an array")
    for index, tool in enumerate(found):
        if not isinstance(tool, dict):
            raise wrong_type(f"{at}[{index}]", "an object")
        yield f"{at}[{index}]", tool


def _decode_tool(tool: JsonObject, at: str) -> Iterable[Tool]:
    match tool.get("type"):
        case "function" | "custom":
            yield _own_tool(tool, at, None)
        case "namespace":
            for place, inner in _entries(tool.get("tools"), f"{at}.tools"):
                if inner.get("type") not in ("function", "custom"):
                    raise wrong_type(f"{place}.type", "'function' or 'custom'")
                yield _own_tool(inner, place, tool)
        case "tool_search" if tool.get("execution") == "client":
            yield FunctionTool(
                name=TOOL_SEARCH,
                description=optional_str(tool, "description", f"{at}."),
                parameters=_schema(tool.get("parameters"), f"{at}.parameters"),
            )
        case str():
            yield HostedTool(dialect=NAME, payload=tool, optional=True)
        case _:
            raise missing(f"{at}.type")


def _own_tool(tool: JsonObject, at: str, space: JsonObject | None) -> FunctionTool | CustomTool:
    name = _name(tool, at)
    namespace = _name(space, at) if space is not None else None
    about = [space.get("description") if space is not None else None, optional_str(tool, "description", f"{at}.")]
    description = "\n\n".join(text for text in about if isinstance(text, str) and text) or None
    if tool["type"] == "function":
        return FunctionTool(
            name=name,
            description=description,
            parameters=_schema(tool.get("parameters"), f"{at}.parameters"),
            strict=optional_bool(tool, "strict"),
            namespace=namespace,
        )
    style = tool.get("format")
    if isinstance(style, dict) and style.get("type") == "grammar":
        grammar = {key: value for key, value in style.items() if key != "type"}
        return CustomTool(name=name, description=description, grammar=grammar, namespace=namespace)
    return CustomTool(name=name, description=description, namespace=namespace)


def _name(source: JsonObject, at: str) -> str:
    name = source.get("name")
    if not isinstance(name, str) or not name:
        raise missing(f"{at}.name")
    return name


def _schema(found: object, at: str) -> JsonObject | None:
    if not isinstance(found, dict | None):
        raise wrong_type(at, "an object")
    return found


def decode_choice(choice: object) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case "auto" | "none" | "required" as mode:
            return ToolChoice(mode=mode)
        case {"type": "function" | "custom", "name": str(name)}:
            return ToolChoice(mode="required", names=(name,))
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(tools)}:
            return _allowed(mode, tools)
        case {"type": "tool_search"}:
            return ToolChoice(mode="required", names=(TOOL_SEARCH,))
        case {"type": str(hosted)} if hosted not in ("function", "custom", "allowed_tools"):
            return ToolChoice(mode="required", hosted=hosted)
        case _:
            raise BadRequest("'tool_choice' is not known.", param="tool_choice", code="invalid_value")


def _allowed(mode: Literal["auto", "required"], tools: list[Any]) -> ToolChoice:
    """Hosted tools among them are not sent, so they need not be allowed."""
    if not all(isinstance(tool, dict) and isinstance(tool.get("type"), str) for tool in tools):
        raise wrong_type("tool_choice.tools", "an array of tools")
    names = tuple(tool["name"] for tool in tools if isinstance(tool.get("name"), str))
    if names:
        return ToolChoice(mode=mode, names=names)
    if mode == "required" and tools:
        return ToolChoice(mode="required", hosted=tools[0]["type"])
    return ToolChoice(mode="none")
