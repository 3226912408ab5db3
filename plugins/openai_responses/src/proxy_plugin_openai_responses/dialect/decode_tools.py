"""Tools and the choice among them, as clients declare them: at the top, in mid-history, or as a search result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    CustomTool,
    FunctionTool,
    HostedTool,
    JsonObject,
    Message,
    Part,
    Tool,
    ToolCall,
    ToolChoice,
)
from proxy_core.dialects.common import RUN_BY_OPENAI, flat_name, missing, optional_bool, optional_str, wrong_type
from proxy_plugin_openai_responses.dialect.common import NAME

TOOL_SEARCH = "tool_search"
Kind = Literal["function", "custom", "tool_search"]
#: A name with a digest behind it has at most 64 characters, OpenAI's limit.
_MOST_OF_NAME = 55
#: Items of the history that declare tools.
_DECLARING = ("additional_tools", "tool_search_output")


class Declared(Struct, frozen=True):
    """A tool that the client runs, by the client's names."""

    name: str
    namespace: str | None = None
    kind: Kind = "function"


#: Tools as they are sent, with what the client calls them.
Named = Sequence[tuple[Tool, Declared | None]]


def named_tools(body: Mapping[str, Any]) -> list[tuple[Tool, Declared | None]]:
    """The tools, those of the client with what the client calls them.

    Of several with one name, the first is used: those of the request itself precede those in its history. One in a
    namespace whose name would be another tool's in a format without namespaces gets a name of its own.
    """
    every = [(tool, entry) for at, entry in _all(body) for tool in _decode_tool(entry, at)]
    taken = {tool.name for tool, _ in every if not isinstance(tool, HostedTool) and tool.namespace is None}
    found: list[tuple[Tool, Declared | None]] = []
    known = set()
    for tool, entry in every:
        if isinstance(tool, HostedTool):
            found.append((tool, None))
            continue
        own = Declared(tool.name, tool.namespace, _kind(tool, entry))
        if (own.namespace, own.name) in known:
            continue
        known.add((own.namespace, own.name))
        named = _distinct(tool, taken)
        taken.add(flat_name(named.name, named.namespace))
        found.append((named, own))
    return found


def _kind(tool: FunctionTool | CustomTool, entry: JsonObject) -> Kind:
    return (
        "tool_search" if entry.get("type") == TOOL_SEARCH else "custom" if isinstance(tool, CustomTool) else "function"
    )


def _distinct(tool: FunctionTool | CustomTool, taken: set[str]) -> FunctionTool | CustomTool:
    if tool.namespace is None or flat_name(tool.name, tool.namespace) not in taken:
        return tool
    digest = sha256(f"{tool.namespace}\0{tool.name}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return replace(tool, name=f"{tool.name[:_MOST_OF_NAME]}_{digest}")


def table(body: Mapping[str, Any]) -> dict[str, Declared]:
    """The client's tools by the names that they have in a format without namespaces and custom tools."""
    return {
        flat_name(tool.name, tool.namespace): own
        for tool, own in named_tools(body)
        if own is not None and not isinstance(tool, HostedTool)
    }


def with_names(messages: list[Message], tools: Named) -> list[Message]:
    """The messages, with the calls of tools that got a name of their own under it."""
    names = _renamed(tools)
    if not names:
        return messages

    def named(part: Part) -> Part:
        if not isinstance(part, ToolCall):
            return part
        return replace(part, name=names.get((part.namespace, part.name), part.name))

    return [replace(message, parts=[named(part) for part in message.parts]) for message in messages]


def _renamed(tools: Named) -> dict[tuple[str | None, str], str]:
    return {
        (own.namespace, own.name): tool.name
        for tool, own in tools
        if own is not None and not isinstance(tool, HostedTool) and tool.name != own.name
    }


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
            if tool.get("tools") is None:
                raise missing(f"{at}.tools")
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
        case str(kind):
            yield HostedTool(dialect=NAME, payload=tool, optional=kind.startswith(RUN_BY_OPENAI))
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
            strict=optional_bool(tool, "strict", f"{at}."),
            namespace=namespace,
        )
    style = tool.get("format")
    if not isinstance(style, dict | None):
        raise wrong_type(f"{at}.format", "an object")
    if style is not None and style.get("type") == "grammar":
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


def decode_choice(choice: object, tools: Named) -> ToolChoice | None:
    """Raises ``BadRequest``, also for a tool that is not declared."""
    found = _choice(choice)
    if found is None or not found.names:
        return found
    names = {own.name: tool.name for tool, own in tools if own is not None and not isinstance(tool, HostedTool)}
    names |= {own.name: own.name for _, own in tools if own is not None and own.namespace is None}
    for name in found.names:
        if name not in names:
            raise BadRequest(f"Tool choice {name!r} not found in 'tools'.", param="tool_choice", code="invalid_value")
    return replace(found, names=tuple(names[name] for name in found.names))


def _choice(choice: object) -> ToolChoice | None:
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
