"""Anthropic's ``system`` and ``messages`` to the common form.

Messages of the same role are one turn, and a turn's results come directly after the calls that they answer: other
services are as strict about this as Anthropic's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import BadRequest, JsonObject, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from proxy_core.dialects.common import wrong_type
from proxy_plugin_anthropic.dialect.decode_blocks import decode_block

#: A block of Claude Code's system prompt that differs in each request, so that no other service could cache any of it.
_BILLING = "x-anthropic-billing-header:"

#: What the messages of a role cannot contain.
_NOT_IN: Mapping[str, Sequence[type[Part]]] = {
    "user": (ToolCall, Reasoning),
    "assistant": (ToolResult,),
    "system": (ToolCall, Reasoning, ToolResult),
}
_WORDS: Mapping[type[Part], str] = {ToolCall: "tool_use", Reasoning: "thinking", ToolResult: "tool_result"}


def decode_system(found: object) -> list[Message]:
    """``system``: a text or text blocks."""
    if found is None:
        return []
    for index, block in enumerate(found if isinstance(found, list) else ()):
        if block.get("type") != "text":
            raise wrong_type(f"system.{index}.type", "'text'")
    parts = [part for part in _blocks(found, "system") if _says(part)]
    return [Message(role="system", parts=parts)] if parts else []


def _says(part: Part) -> bool:
    return isinstance(part, Text) and bool(part.text.strip()) and not part.text.startswith(_BILLING)


def decode_messages(messages: Sequence[JsonObject]) -> list[Message]:
    """Raises ``BadRequest`` in Anthropic's words for calls and results that do not belong together."""
    turns = _Turns()
    for index, message in enumerate(messages):
        at = f"messages.{index}"
        parts = list(_blocks(message["content"], f"{at}.content"))
        for kind in _NOT_IN[message["role"]]:
            if any(isinstance(part, kind) for part in parts):
                word = _WORDS[kind]
                raise BadRequest(f"{at}.content: `{word}` blocks are not allowed here.", param=f"{at}.content")
        turns.add(message["role"], parts, at)
    return turns.messages()


def _blocks(content: object, at: str) -> Iterable[Part]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise wrong_type(at, "a string or an array of blocks")
    for index, block in enumerate(content):
        if not isinstance(block, dict):
            raise wrong_type(f"{at}.{index}", "an object")
        yield from decode_block(block, f"{at}.{index}")


class _Turn(Struct):
    """An assistant's turn, and what follows until its next one."""

    at: str
    said: list[Part] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    #: Where each result is, by its call.
    places: dict[str, str] = field(default_factory=dict)
    #: Of the user, and of the system in mid-conversation.
    others: list[tuple[Role, list[Part]]] = field(default_factory=list)

    def messages(self) -> Iterable[Message]:
        if self.said:
            yield Message(role="assistant", parts=_signed_calls(self.said))
        if self.results:
            yield Message(role="tool", parts=self.results)
        yield from (Message(role=role, parts=parts) for role, parts in self.others)


class _Turns:
    def __init__(self) -> None:
        self._turns = [_Turn("messages.0")]

    def add(self, role: str, parts: list[Part], at: str) -> None:
        turn = self._turns[-1]
        if role == "assistant":
            if parts and (turn.results or turn.others):
                turn = _Turn(at)
                self._turns.append(turn)
            turn.said += parts
            return
        results = [part for part in parts if isinstance(part, ToolResult)]
        others: list[Part] = [part for part in parts if not isinstance(part, ToolResult)]
        if role == "user" and not parts:
            raise BadRequest(f"{at}: messages must have non-empty content.", param=f"{at}.content")
        turn.results += results
        turn.places |= {result.call_id: at for result in results}
        if not others:
            return
        if role == "user" and turn.others and turn.others[-1][0] == "user":
            turn.others[-1][1].extend(others)
        else:
            turn.others.append(("system" if role == "system" else "user", others))

    def messages(self) -> list[Message]:
        for turn in self._turns:
            _check_pairs(turn)
        return [message for turn in self._turns for message in turn.messages()]


def _check_pairs(turn: _Turn) -> None:
    # Counters, because a turn may have any number of calls, and each id is looked up.
    called = Counter(part.id for part in turn.said if isinstance(part, ToolCall))
    answered = Counter(result.call_id for result in turn.results)
    if twice := _repeated(called):
        raise _mismatch(turn.at, f"`tool_use` ids must be unique: {twice}")
    if twice := _repeated(answered):
        raise _mismatch(
            turn.places[twice], f"each tool_use must have a single result; there are several with the id {twice}"
        )
    if orphans := [call_id for call_id in answered if call_id not in called]:
        raise _mismatch(
            turn.places[orphans[0]],
            f"unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(orphans)}. Each `tool_result` block "
            "must have a corresponding `tool_use` block in the previous message.",
        )
    if unanswered := [call_id for call_id in called if call_id not in answered]:
        raise _mismatch(
            turn.at,
            "`tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(unanswered)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message.",
        )


def _repeated(ids: Counter[str]) -> str:
    return next((one for one, times in ids.items() if times > 1), "")


def _mismatch(at: str, message: str) -> BadRequest:
    return BadRequest(f"{at}: {message}", param=f"{at}.content")


def _signed_calls(parts: list[Part]) -> list[Part]:
    """The parts, with each call that directly follows another maker's signature carrying it, too.

    Some makers sign calls instead of thoughts, and this format has no other place for such a signature.
    """
    out: list[Part] = []
    for part in parts:
        before: Any = out[-1] if out else None
        if isinstance(part, ToolCall) and isinstance(before, Reasoning) and before.opaque is not None:
            part = replace(part, opaque=before.opaque)
        out.append(part)
    return out
