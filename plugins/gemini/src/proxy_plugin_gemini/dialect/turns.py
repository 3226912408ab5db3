"""Messages to Gemini's ``contents``: alternating turns, with each call followed directly by its result.

The backend refuses anything else, so this module repairs conversations that other services accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    ChatRequest,
    Image,
    InlineData,
    JsonObject,
    Message,
    Native,
    Opaque,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from proxy_core.dialects.common import with_contexts
from proxy_plugin_gemini.dialect.common import MAKER, NAME, NO_SIGNATURE, parse_text
from proxy_plugin_gemini.dialect.families import Family
from proxy_plugin_gemini.dialect.names import NameTable
from proxy_plugin_gemini.dialect.parts import media_part, text_of

#: Looks up the signature of a call by its id, for clients that do not send signatures back; ``None``: unknown.
Signatures = Callable[[str], str | None]

_NO_RESULT = {"error": "no result was provided"}


class _Turn(Struct):
    """A model's turn, and everything up to the model's next turn."""

    model: list[JsonObject] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    user: list[JsonObject] = field(default_factory=list)


class TurnWriter(Struct, frozen=True):
    """Writes a request's turns."""

    family: Family
    names: NameTable
    signatures: Signatures
    call_ids: bool

    def contents(self, chat: ChatRequest) -> tuple[list[JsonObject], list[str]]:
        """``contents``, and the texts of the system instruction."""
        system: list[str] = []
        turns = [_Turn()]
        for message in chat.messages:
            if message.role in ("system", "developer"):
                system += _system(message)
                continue
            if message.role == "assistant" and (turns[-1].user or turns[-1].results):
                turns.append(_Turn())
            self._message(message, turns[-1])
        out: list[JsonObject] = []
        for turn in turns:
            self._write(turn, out)
        if not out and system:
            out, system = [{"role": "user", "parts": [{"text": text} for text in system]}], []
        if not out:
            raise BadRequest("There is nothing to respond to: all messages are empty.", param="messages")
        if out[0]["role"] == "model":
            out.insert(0, {"role": "user", "parts": [{"text": "."}]})
        return out, system

    def _message(self, message: Message, turn: _Turn) -> None:
        for part in with_contexts(message.parts):
            match part:
                case ToolResult():
                    turn.results.append(replace(part, parts=list(with_contexts(part.parts))))
                case ToolCall():
                    turn.calls.append(part)
                case Reasoning():
                    pass  # Google's own clients do not send thoughts back either
                case _:
                    target = turn.model if message.role == "assistant" else turn.user
                    target += self._content(part)

    def _content(self, part: Part) -> list[JsonObject]:
        text = text_of(part)
        if text is None:
            return [media_part(part)]
        signature = _signature(part.opaque) if isinstance(part, Text) else None
        if signature is not None:
            return [{"text": text, "thoughtSignature": signature}]
        return [{"text": text}] if text else []

    def _write(self, turn: _Turn, out: list[JsonObject]) -> None:
        results, orphans = _matched_results(turn)
        model = [*turn.model, *self._calls(turn.calls)]
        if model:
            out.append({"role": "model", "parts": model})
        parts: list[JsonObject] = []
        media: list[JsonObject] = []
        for call, result in zip(turn.calls, results, strict=True):
            parts.append(self._response(call, result, media))
        for result in orphans:
            media += self._orphan(result)
        parts += [*media, *turn.user]
        if not parts:
            return
        if out and out[-1]["role"] == "user":
            out[-1]["parts"] += parts
        else:
            out.append({"role": "user", "parts": parts})

    def _calls(self, calls: Sequence[ToolCall]) -> list[JsonObject]:
        """Of parallel calls, the backend signs only the first, and requires only its signature."""
        parts = []
        for index, call in enumerate(calls):
            body: JsonObject = {"name": self.names.to_gemini(call.name, call.namespace), "args": _arguments(call)}
            if self.call_ids and call.id:
                body = {"id": call.id, **body}
            part: JsonObject = {"functionCall": body}
            signature = _signature(call.opaque) or self.signatures(call.id)
            if signature is None and index == 0 and self.family.signs_calls:
                signature = NO_SIGNATURE
            if signature is not None:
                part["thoughtSignature"] = signature
            parts.append(part)
        return parts

    def _response(self, call: ToolCall, result: ToolResult | None, media: list[JsonObject]) -> JsonObject:
        name = self.names.to_gemini(call.name, call.namespace)
        body: JsonObject = {"name": name, "response": _NO_RESULT if result is None else _result(result)}
        if self.call_ids and call.id:
            body = {"id": call.id, **body}
        inside: list[JsonObject] = []
        for part in result.parts if result is not None else ():
            if text_of(part) is None and not isinstance(part, Reasoning):
                encoded = media_part(part)
                seen = isinstance(part, Image) and isinstance(part.source, InlineData)
                (inside if self.family.media_results and seen else media).append(encoded)
        if inside:
            body["parts"] = inside
        return {"functionResponse": body}

    def _orphan(self, result: ToolResult) -> list[JsonObject]:
        """The backend refuses a result without a call, so it is sent as text."""
        text = _joined(result)
        media = [media_part(p) for p in result.parts if text_of(p) is None and not isinstance(p, Reasoning)]
        return [{"text": f"[result of tool {result.name or result.call_id}] {text}"}, *media]


def _system(message: Message) -> list[str]:
    texts = []
    for part in message.parts:
        text = text_of(part)
        if isinstance(part, Native) and part.dialect == NAME and "cachedContent" in part.payload:
            continue  # encoded as a field; it is a part only so that no other format drops it
        if text is None:
            raise BadRequest(f"With this model, a {message.role} message may contain only text.", param="messages")
        if text.strip():
            texts.append(text)
    return texts


def _signature(opaque: Opaque | None) -> str | None:
    return opaque.payload if opaque is not None and opaque.maker in (MAKER, "") else None


def _arguments(call: ToolCall) -> JsonObject:
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        found = parse_text(call.arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"_raw": call.arguments}


def _matched_results(turn: _Turn) -> tuple[list[ToolResult | None], list[ToolResult]]:
    """A result for each call, matched by id, then by name, then by position; and the remaining results."""
    matched: list[ToolResult | None] = [None] * len(turn.calls)
    by_id = {call.id: index for index, call in reversed(list(enumerate(turn.calls)))}
    rest = []
    for result in turn.results:
        if result.call_id in by_id:
            matched[by_id[result.call_id]] = result  # of duplicates, the last is used
        else:
            rest.append(result)
    for matches in (_same_name, lambda call, result: True):
        unmatched = []
        for result in rest:
            free = [i for i, call in enumerate(turn.calls) if matched[i] is None and matches(call, result)]
            if free:
                matched[free[0]] = result
            else:
                unmatched.append(result)
        rest = unmatched
    return matched, rest


def _same_name(call: ToolCall, result: ToolResult) -> bool:
    return result.name is not None and call.name == result.name


def _joined(result: ToolResult) -> str:
    if len(result.parts) == 1:
        return text_of(result.parts[0]) or ""
    return "\n".join(text for part in result.parts if (text := text_of(part)) is not None)


def _result(result: ToolResult) -> Mapping[str, Any]:
    text = _joined(result)
    if text.lstrip().startswith(("{", "[")):
        try:
            value = parse_text(text)
        except ValueError:
            value = text
        if isinstance(value, dict):
            return value
        return {"error" if result.is_error else "output": value}
    return {"error" if result.is_error else "output": text}
