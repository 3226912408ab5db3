"""Where a response's blocks are written to: a stream of events, or the content of one message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, field
from pydantic_core import from_json

from proxy_core import CallStart, JsonObject, sse
from proxy_core.dialects.common import json_bytes, load_object

#: The member of a delta that has its text, by the delta's kind.
_TEXTS = {"text": b"text", "thinking": b"thinking", "signature": b"signature", "input_json": b"partial_json"}


def event(kind: str, **members: Any) -> bytes:
    return sse.encode(json_bytes({"type": kind, **members}), kind)


class Output(Protocol):
    """One block after the other: ``start``, any number of ``delta`` and ``cite``, ``stop``. ``chars`` is how much the
    model has written, signatures left aside."""

    chars: int

    def start(self, block: JsonObject) -> bytes: ...
    def delta(self, kind: str, text: str) -> bytes: ...
    def cite(self, citation: Mapping[str, Any]) -> bytes: ...
    def stop(self) -> bytes: ...


class Streamed:
    """Blocks as events."""

    def __init__(self) -> None:
        self._index = -1
        self.chars = 0

    def start(self, block: JsonObject) -> bytes:
        self._index += 1
        return event("content_block_start", index=self._index, content_block=block)

    def delta(self, kind: str, text: str) -> bytes:
        if kind != "signature":
            self.chars += len(text)
        # Written by hand, as nearly all events of a stream are deltas.
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b_delta","%b":%b}}\n\n' % (self._index, kind.encode(), _TEXTS[kind], json_bytes(text))
        )

    def cite(self, citation: Mapping[str, Any]) -> bytes:
        delta = {"type": "citations_delta", "citation": citation}
        return event("content_block_delta", index=self._index, delta=delta)

    def stop(self) -> bytes:
        return event("content_block_stop", index=self._index)


class Whole:
    """Blocks as the content of a message."""

    def __init__(self) -> None:
        self.content: list[JsonObject] = []
        self.chars = 0
        self._texts: dict[str, list[str]] = {}

    def start(self, block: JsonObject) -> bytes:
        self.content.append(dict(block))
        return b""

    def delta(self, kind: str, text: str) -> bytes:
        if kind != "signature":
            self.chars += len(text)
        self._texts.setdefault(kind, []).append(text)
        return b""

    def cite(self, citation: Mapping[str, Any]) -> bytes:
        self.content[-1].setdefault("citations", []).append(citation)
        return b""

    def stop(self) -> bytes:
        block, texts, self._texts = self.content[-1], self._texts, {}
        for kind, pieces in texts.items():
            if kind == "input_json":
                block["input"] = _input("".join(pieces))
            else:
                block[kind] += "".join(pieces)
        return b""


def _input(text: str) -> JsonObject:
    """A call's arguments; what is complete of them if the response was cut off, as clients read it from a stream."""
    found = load_object(text)
    if found is not None:
        return found
    try:
        found = from_json(text.encode("utf-8", "replace"), allow_partial=True)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Call(Struct, eq=False):
    """A call; ``held`` are the arguments that are not written yet. After ``closed``, none can be written any more."""

    start: CallStart
    held: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    ended: bool = False
    closed: bool = False

    def take(self) -> str:
        """What can be written. Whitespace alone is no arguments; the text of a custom tool is written as a whole."""
        text = "".join(self.held)
        if self.start.kind == "custom":
            text = json_bytes({"input": text}).decode() if self.ended else ""
        if not (text.strip() or self.written):
            return ""
        self.held = []
        self.written.append(text)
        return text

    @property
    def complete(self) -> bool:
        """Whether nothing can follow: the arguments are an object. The text of a custom tool may always go on."""
        return self.start.kind == "function" and load_object("".join([*self.written, *self.held])) is not None

    @property
    def valid(self) -> bool:
        """Whether the arguments are an object, or none at all."""
        return not self.written or load_object("".join(self.written)) is not None
