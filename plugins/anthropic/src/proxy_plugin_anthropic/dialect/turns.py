"""Messages to Anthropic's turns: the user's first, each call answered in the next message before anything else.

The API refuses everything else, so this module repairs conversations that other services accept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from proxy_core import (
    BadRequest,
    ChatRequest,
    JsonObject,
    Message,
    Native,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    load_json,
)
from proxy_core.dialects.common import misplaced
from proxy_plugin_anthropic.dialect.common import NAME
from proxy_plugin_anthropic.dialect.names import NameTable, call_id
from proxy_plugin_anthropic.dialect.parts import content_block, extras
from proxy_plugin_anthropic.dialect.thoughts import thinking_blocks

#: Texts in which the parser may have found a number that JSON cannot express.
_RISKY = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")
_NO_RESULT = "No result was provided."


class _Turn(Struct):
    """The assistant's turn, and everything up to its next one. ``calls`` are ids: the client's, and what is sent."""

    said: list[JsonObject] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    results: list[tuple[ToolResult, Mapping[str, Any]]] = field(default_factory=list)
    user: list[JsonObject] = field(default_factory=list)


class TurnWriter:
    """Writes one request's ``system`` and ``messages``. Raises ``BadRequest`` naming what cannot be expressed."""

    def __init__(self, chat: ChatRequest, names: NameTable, maker: str) -> None:
        self._chat, self._names, self._maker = chat, names, maker
        self._own = chat.dialect == NAME
        self._ids: set[str] = set()
        self.system: list[JsonObject] = []

    def messages(self) -> list[JsonObject]:
        turns = [_Turn()]
        begun = False
        for message in self._chat.messages:
            if message.role in ("system", "developer") and not begun:
                self.system += self._texts(message)
                continue
            begun = True
            if message.role == "assistant" and (turns[-1].user or turns[-1].results):
                turns.append(_Turn())
            self._add(message, turns[-1])
        out: list[JsonObject] = []
        for turn in turns:
            self._write(turn, out)
        if not out and self.system:
            out, self.system = [{"role": "user", "content": self.system}], []
        if not out:
            raise BadRequest("There is nothing to respond to: all messages are empty.", param="messages")
        if out[0]["role"] == "assistant":
            out.insert(0, {"role": "user", "content": [{"type": "text", "text": "."}]})
        if out[-1]["role"] == "assistant":
            _without_last_space(out[-1])
        return out

    # --- Messages to turns ---

    def _texts(self, message: Message) -> list[JsonObject]:
        if own := next((part for part in message.parts if isinstance(part, Native)), None):
            raise misplaced(own)
        if not all(isinstance(part, Text) for part in message.parts):
            raise BadRequest(f"With this model, a {message.role} message may contain only text.", param="messages")
        return self._marked(self._blocks(message.parts), message.extra)

    def _add(self, message: Message, turn: _Turn) -> None:
        if message.role in ("system", "developer"):
            turn.user += [
                {**text, "text": f"<system-reminder>\n{text['text']}\n</system-reminder>"}
                for text in self._texts(message)
            ]
            return
        if message.role == "assistant":
            said = [block for part in message.parts for block in self._said(part, turn)]
            turn.said += self._marked(said, message.extra)
            return
        turn.results += [(part, message.extra) for part in message.parts if isinstance(part, ToolResult)]
        others = [part for part in message.parts if not isinstance(part, ToolResult | Reasoning)]
        turn.user += self._marked(self._blocks(others), message.extra)

    def _blocks(self, parts: Sequence[Part]) -> list[JsonObject]:
        return [block for part in parts if (block := content_block(part, own=self._own)) is not None]

    def _marked(self, blocks: list[JsonObject], extra: Mapping[str, Any]) -> list[JsonObject]:
        """A message's own mark for the cache belongs to its last block."""
        mark = extras(extra, own=False)
        if not mark or not blocks or blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            return blocks
        return [*blocks[:-1], {**mark, **blocks[-1]}]

    def _said(self, part: Part, turn: _Turn) -> Iterator[JsonObject]:
        match part:
            case Reasoning():
                yield from thinking_blocks(part, self._maker)
            case ToolCall():
                sent = self._free_id(part.id)
                turn.calls.append((part.id, sent))
                name = self._names.to_upstream(part.name, part.namespace)
                more = extras(part.extra, own=self._own)
                yield {**more, "type": "tool_use", "id": sent, "name": name, "input": _input(part)}
            case _:
                yield from self._blocks([part])

    def _free_id(self, wanted: str) -> str:
        """Other services take an id again in a later turn."""
        sent = base = call_id(wanted)
        number = 1
        while sent in self._ids:
            number += 1
            sent = call_id(f"{base}_{number}")
        self._ids.add(sent)
        return sent

    # --- Turns to messages ---

    def _write(self, turn: _Turn, out: list[JsonObject]) -> None:
        if turn.said:
            out.append({"role": "assistant", "content": turn.said})
        rest = list(turn.results)
        blocks: list[JsonObject] = []
        for wanted, sent in turn.calls:
            found = next((entry for entry in rest if entry[0].call_id == wanted), None)
            if found is not None:
                rest.remove(found)
            blocks.append(self._result(sent, found))
        for result, _ in rest:
            blocks += self._orphan(result)
        blocks += turn.user
        if blocks:
            out.append({"role": "user", "content": blocks})

    def _result(self, sent: str, found: tuple[ToolResult, Mapping[str, Any]] | None) -> JsonObject:
        block: JsonObject = {"type": "tool_result", "tool_use_id": sent}
        if found is None:
            return {**block, "content": _NO_RESULT, "is_error": True}
        result, extra = found
        more = {**extras(extra, own=False), **extras(result.extra, own=self._own)}
        content = self._blocks(result.parts)
        plain = len(content) == 1 and content[0].keys() == {"type", "text"}
        if content:
            block["content"] = content[0]["text"] if plain else content
        return {**more, **block, **({"is_error": True} if result.is_error else {})}

    def _orphan(self, result: ToolResult) -> list[JsonObject]:
        """The API refuses a result without a call, so it is sent as text."""
        return [
            {"type": "text", "text": f"[result of tool {result.name or result.call_id}]"},
            *self._blocks(result.parts),
        ]


def _input(call: ToolCall) -> JsonObject:
    """The arguments as an object; a text that is none, as a model may have written it, whole."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        found = load_json(call.arguments)
        if _RISKY.search(call.arguments):
            json.dumps(found, allow_nan=False)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"_raw": call.arguments}


def _without_last_space(message: JsonObject) -> None:
    """The API refuses white space at the end of an answer that it is to continue."""
    last = message["content"][-1]
    if last["type"] == "text":
        message["content"][-1] = {**last, "text": last["text"].rstrip()}
