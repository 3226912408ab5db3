"""Messages to ``instructions`` and the items of ``input``.

An upstream refuses a result without its call and a call without its result; such histories are repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    ChatRequest,
    JsonObject,
    Message,
    Native,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from proxy_core.dialects.common import without_none
from proxy_plugin_openai_responses.dialect.common import MAKER, NAME
from proxy_plugin_openai_responses.dialect.encode_parts import input_parts, joined, output_part

_NO_RESULT = "no result was provided"
_ROLES = ("system", "developer")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class _Sent(Struct):
    """A call as it is sent. Ids are unique in the whole conversation, other than in other formats."""

    call: ToolCall
    id: str
    answered: bool = False


class _Pairs(Struct):
    """Which result belongs to which call, each in the order of the conversation."""

    calls: list[_Sent] = field(default_factory=list)
    results: list[_Sent | None] = field(default_factory=list)


def encode_input(chat: ChatRequest) -> tuple[str | None, list[JsonObject]]:
    """``instructions`` and ``input``. Raises ``BadRequest`` naming what cannot be expressed."""
    own = chat.dialect == NAME
    messages = [message if own or not message.extra else replace(message, extra={}) for message in chat.messages]
    system: list[str] = []
    while messages and (text := _instruction(messages[0])) is not None and len(messages) > 1:
        system.append(text)
        messages.pop(0)
    pairs = _paired(messages)
    calls, results = iter(pairs.calls), iter(pairs.results)
    items = [item for message in messages for item in _message(message, calls, results)]
    if not items:
        raise BadRequest("There is nothing to respond to: all messages are empty.", param="messages")
    return "\n\n".join(text for text in system if text.strip()) or None, items


def _instruction(message: Message) -> str | None:
    """The text of a message that can be an instruction."""
    if message.role not in _ROLES or not all(isinstance(part, Text) for part in message.parts):
        return None
    return "\n\n".join(part.text for part in message.parts if isinstance(part, Text))


def _paired(messages: Sequence[Message]) -> _Pairs:
    """A result belongs to the last call with its id that has none yet."""
    pairs = _Pairs()
    waiting: dict[str, list[_Sent]] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                sent = _Sent(part, _unique(part.id, len(pairs.calls), part.id in waiting))
                pairs.calls.append(sent)
                waiting.setdefault(part.id, []).append(sent)
            elif isinstance(part, ToolResult):
                open_calls = waiting.get(part.call_id)
                found = open_calls.pop() if open_calls else None
                pairs.results.append(found)
                if found is not None:
                    found.answered = True
    return pairs


def _unique(call_id: str, number: int, taken: bool) -> str:
    """The id itself, if it fits and is new; otherwise one that is the same for the same conversation."""
    if _ID.fullmatch(call_id) and not taken:
        return call_id
    digest = sha256(f"{call_id}\0{number}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"call_{digest[:24]}"


def _message(message: Message, calls: Iterator[_Sent], results: Iterator[_Sent | None]) -> Iterator[JsonObject]:
    """The items of one message, in the order of its parts; neighbouring parts of content are one item."""
    content: list[JsonObject] = []
    for part in message.parts:
        item: Sequence[JsonObject]
        match part:
            case ToolCall():
                item = _call(next(calls))
            case ToolResult():
                item = _result(part, next(results))
            case Reasoning():
                item = _reasoning(part)
            case Native() if part.dialect == NAME and not _is_content(part):
                item = [dict(part.payload)]
            case Text() | Refusal() if message.role == "assistant":
                if isinstance(part, Text) and part.opaque is not None:
                    yield from _encrypted(part.opaque)
                content += output_part(part)
                continue
            case _:
                content += input_parts(part)
                continue
        yield from _content(message, content)
        content = []
        yield from item
    yield from _content(message, content)


def _is_content(part: Native) -> bool:
    return str(part.payload.get("type")).startswith(("input_", "output_"))


def _content(message: Message, content: Sequence[JsonObject]) -> Iterator[JsonObject]:
    if content:
        role = "user" if message.role == "tool" else message.role
        own = {key: value for key, value in message.extra.items() if key not in ("type", "role", "content")}
        fields = without_none(type="message", role=role, phase=message.phase)
        yield {**own, **fields, "content": list(content)}


def _call(sent: _Sent) -> list[JsonObject]:
    call, custom = sent.call, sent.call.kind == "custom"
    item = without_none(
        type="custom_tool_call" if custom else "function_call",
        call_id=sent.id,
        name=call.name,
        namespace=call.namespace,
    )
    item["input" if custom else "arguments"] = call.arguments if custom else call.arguments or "{}"
    signed = list(_encrypted(call.opaque)) if call.opaque is not None else []
    return [*signed, item] if sent.answered else [*signed, item, _output(sent, _NO_RESULT)]


def _output(sent: _Sent, output: object) -> JsonObject:
    kind = "custom_tool_call_output" if sent.call.kind == "custom" else "function_call_output"
    return {"type": kind, "call_id": sent.id, "output": output}


def _result(result: ToolResult, sent: _Sent | None) -> list[JsonObject]:
    text = joined(result.parts)
    if text is not None and result.is_error and not text.startswith("Error: "):
        text = f"Error: {text}"
    parts = [{"type": "input_text", "text": text}] if text is not None else _parts(result)
    if sent is None:
        note = {"type": "input_text", "text": f"[result of tool {result.name or result.call_id}]"}
        return [{"type": "message", "role": "user", "content": [note, *parts]}]
    return [_output(sent, text if text is not None else parts)]


def _parts(result: ToolResult) -> list[JsonObject]:
    found = [encoded for part in result.parts for encoded in input_parts(part)]
    return [{"type": "input_text", "text": "Error:"}, *found] if result.is_error else found


def _reasoning(part: Reasoning) -> list[JsonObject]:
    """Only what the format's own models have encrypted: they cannot read other reasoning."""
    if part.opaque is None or part.opaque.maker != MAKER:
        return []
    text = part.summary if part.summary is not None else part.text
    return [_reasoning_item(part.opaque, text)]


def _encrypted(opaque: Opaque) -> Iterator[JsonObject]:
    """Reasoning that a client returns with a text or a call, because its format has no other place for it."""
    if opaque.maker == MAKER:
        yield _reasoning_item(opaque, "")


def _reasoning_item(opaque: Opaque, summary: str) -> JsonObject:
    shown = [{"type": "summary_text", "text": summary}] if summary else []
    return {"type": "reasoning", "summary": shown, "encrypted_content": opaque.payload}


def unsent_parts(chat: ChatRequest) -> Iterator[str]:
    """Names of participants."""
    if any(message.name is not None for message in chat.messages):
        yield "messages[].name"
