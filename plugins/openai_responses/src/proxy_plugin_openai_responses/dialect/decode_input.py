"""The items of a conversation, as messages: what the model said between two inputs is one message of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    JsonObject,
    Message,
    Native,
    Opaque,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    unseal,
)
from proxy_core.dialects.common import json_bytes, missing, optional_str, wrong_type
from proxy_plugin_openai_responses.dialect.common import MAKER, NAME
from proxy_plugin_openai_responses.dialect.decode_parts import decode_content, decode_output
from proxy_plugin_openai_responses.dialect.decode_tools import TOOL_SEARCH

_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}
#: Members of an item that say nothing to a model.
_ADMINISTRATIVE = frozenset({"type", "id", "status", "call_id", "encrypted_content"})
#: What a call of a tool that is built into the format asks for.
_ASKED = ("action", "operation", "arguments")


class _Turn(Struct):
    """What the model said, as it is collected."""

    parts: list[Part] = field(default_factory=list)
    phase: str | None = None


def decode_input(items: Sequence[JsonObject]) -> list[Message]:
    """Results follow their calls, wherever they are in the input. Raises ``BadRequest`` naming the item."""
    results = _results(items)
    messages: list[Message] = []
    turn = _Turn()
    for index, item in enumerate(items):
        at = f"input[{index}]"
        kind = item.get("type")
        if kind is None or kind == "message":
            role = _role(item, at)
            parts = decode_content(item.get("content"), at)
            if role != "assistant":
                messages += _closed(turn, results)
                turn = _Turn()
                messages.append(Message(role=role, parts=parts))
                continue
            turn.parts += [part for part in parts if not isinstance(part, Text) or part.text]
            turn.phase = optional_str(item, "phase", f"{at}.") or turn.phase
        elif kind.endswith("_output"):
            messages += _closed(turn, results)
            turn = _Turn()
        else:
            turn.parts += _said(item, kind, at)
    messages += _closed(turn, results)
    orphan = next((call_id for call_id, left in results.items() if left), None)
    if orphan is not None:
        raise BadRequest(f"No tool call found for function call output with call_id {orphan}.", param="input")
    return messages


def _role(item: JsonObject, at: str) -> Role:
    found = item.get("role")
    if found is None:
        raise missing(f"{at}.role")
    role = _ROLES.get(found) if isinstance(found, str) else None
    if role is None:
        raise BadRequest(f"'{at}.role' {found!r} is not known.", param=f"{at}.role", code="invalid_value")
    return role


def _closed(turn: _Turn, results: dict[str, deque[ToolResult]]) -> Iterator[Message]:
    """The turn, and the results of its calls."""
    if not turn.parts:
        return
    yield Message(role="assistant", parts=_signed(turn.parts), phase=turn.phase)
    for part in turn.parts:
        if isinstance(part, ToolCall):
            if not results.get(part.id):
                raise BadRequest(f"No tool output found for function call {part.id}.", param="input")
            yield Message(role="tool", parts=[results[part.id].popleft()])


def _signed(parts: list[Part]) -> list[Part]:
    """The parts, with each call that directly follows a signature carrying it, too: some makers sign calls."""
    out: list[Part] = []
    signature: Opaque | None = None
    for part in parts:
        out.append(replace(part, opaque=signature) if isinstance(part, ToolCall) and signature is not None else part)
        signature = part.opaque if isinstance(part, Reasoning) else None
        if signature is not None and signature.maker == MAKER:
            signature = None
    return out


# --- Results -----------------------------------------------------------------------------


def _results(items: Sequence[JsonObject]) -> dict[str, deque[ToolResult]]:
    """By call, and in order, as a later call may have the id of an earlier one."""
    found: dict[str, deque[ToolResult]] = {}
    for index, item in enumerate(items):
        kind = item.get("type")
        if isinstance(kind, str) and kind.endswith("_output") and not _hosted_search(item, kind):
            at = f"input[{index}]"
            call_id = _call_id(item, at)
            found.setdefault(call_id, deque()).append(ToolResult(call_id=call_id, parts=_outcome(item, kind, at)))
    return found


def _outcome(item: JsonObject, kind: str, at: str) -> list[Part]:
    if kind == "tool_search_output":
        return [Text(text=f"These tools are available now: {', '.join(_found_names(item)) or 'none'}.")]
    output, own = item.get("output"), kind in ("function_call_output", "custom_tool_call_output")
    return decode_output(output, f"{at}.output", plain=own)


def _found_names(item: JsonObject) -> Iterator[str]:
    tools = item.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        inner = tool.get("tools") if isinstance(tool, dict) else None
        for entry in inner if isinstance(inner, list) else (tool,):
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                yield entry["name"]


def _hosted_search(item: JsonObject, kind: str) -> bool:
    """A search that the vendor made; the tools that it found are declared all the same."""
    return kind in ("tool_search_call", "tool_search_output") and item.get("execution") != "client"


def _call_id(item: JsonObject, at: str) -> str:
    call_id = item.get("call_id")
    if call_id is None or call_id == "":
        raise missing(f"{at}.call_id")
    if not isinstance(call_id, str):
        raise wrong_type(f"{at}.call_id", "a string")
    return call_id


# --- What the model said -----------------------------------------------------------------


def _said(item: JsonObject, kind: str, at: str) -> Iterator[Part]:
    match kind:
        case "reasoning":
            yield _reasoning(item, at)
        case "function_call":
            yield _call(item, at, "arguments")
        case "custom_tool_call":
            yield _call(item, at, "input")
        case "additional_tools":
            pass  # declared with the others
        case "tool_search_call":
            if not _hosted_search(item, kind):
                yield ToolCall(id=_call_id(item, at), name=TOOL_SEARCH, arguments=_json(item.get("arguments")))
        case "item_reference":
            raise BadRequest(
                "References to items are not available: send the items themselves.", param=at, code="invalid_value"
            )
        case _ if kind.endswith("_call"):
            yield _built_in(item, kind, at)
        case _:
            yield Native(dialect=NAME, payload=item)


def _call(item: JsonObject, at: str, text: str) -> ToolCall:
    name, said = item.get("name"), item.get(text)
    if not isinstance(name, str) or not name:
        raise missing(f"{at}.name")
    if not isinstance(said, str):
        raise wrong_type(f"{at}.{text}", "a string") if said is not None else missing(f"{at}.{text}")
    return ToolCall(
        id=_call_id(item, at),
        name=name,
        arguments=said,
        kind="custom" if text == "input" else "function",
        namespace=optional_str(item, "namespace", f"{at}.") or None,
    )


def _built_in(item: JsonObject, kind: str, at: str) -> Part:
    """A call of a tool that is built into the format: one with a result of its own, or a note of what was done."""
    if item.get("call_id"):
        asked = next((item[name] for name in _ASKED if item.get(name) is not None), None)
        return ToolCall(id=_call_id(item, at), name=kind.removesuffix("_call"), arguments=_json(asked))
    said = {name: value for name, value in item.items() if name not in _ADMINISTRATIVE and name != "result"}
    return Text(text=f"[{kind}: {_json(said)}]")


def _json(value: object) -> str:
    return value if isinstance(value, str) else json_bytes({} if value is None else value).decode()


def _reasoning(item: JsonObject, at: str) -> Reasoning:
    """``text`` is the reasoning itself if it is there, otherwise its summary, which may be all that its maker shows."""
    encrypted = optional_str(item, "encrypted_content", f"{at}.")
    summary = _texts(item.get("summary"), f"{at}.summary")
    return Reasoning(
        text=_texts(item.get("content"), f"{at}.content") or summary,
        summary=summary or None,
        opaque=unseal(encrypted, MAKER) if encrypted else None,
        id=optional_str(item, "id", f"{at}."),
    )


def _texts(found: object, at: str) -> str:
    if found is None:
        return ""
    if not isinstance(found, list):
        raise wrong_type(at, "an array of texts")
    texts = [part["text"] for part in found if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if len(texts) < len(found):
        raise wrong_type(at, "an array of texts")
    return "\n\n".join(texts)
