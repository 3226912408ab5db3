"""Server-sent events: converts bytes to events and back.

Everything works on bytes: ``str.splitlines`` would break JSON at U+2028, and a read may
end inside a character. A line ends with CR LF, LF or CR; an empty line ends an event.
Source: WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from proxy_core.errors import UpstreamBroken

DONE = b"data: [DONE]\n\n"

# A CR at the very end of the input counts as a line end: if the next read begins with its
# LF, that LF forms an empty line of its own, which has no effect.
_EOL = rb"(?:\r\n|\n|\r(?!\n))"
_BLANK_LINE = re.compile(_EOL + _EOL)
_LINE = re.compile(rb"\r\n|\n|\r")
#: Parts below this size are joined at once: many small ones take more memory than their content.
_SMALL = 4096
_BOM = b"\xef\xbb\xbf"
#: What the first line of a stream begins with.
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class Event(Struct, frozen=True):
    """One event: its data lines joined by LF, and its name."""

    data: bytes
    name: str | None = None


class EventSplitter:
    """Splits a byte stream at the ends of events, however it was read.

    ``feed`` returns the bytes of all events completed so far, unchanged, and keeps the
    unfinished rest; ``close`` returns that rest. The returned pieces, joined, equal the input.
    Raises :exc:`UpstreamBroken` if an event exceeds ``max_event_bytes``.
    """

    __slots__ = ("_held", "_held_bytes", "_max")

    def __init__(self, max_event_bytes: int) -> None:
        # In parts, because joining them at each read would take quadratic time.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._max = max_event_bytes

    def feed(self, data: bytes) -> bytes:
        if self._held:
            return self._continue(data)
        end = _last_event_end(data)
        if end == len(data):
            return data
        self._hold(data[end:])
        return data[:end]

    def close(self) -> bytes:
        rest = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        return rest

    def _continue(self, data: bytes) -> bytes:
        # A few bytes back, because a blank line may have begun in an earlier read.
        before = self._held[-1][-3:]
        end = _last_event_end(before + data) - len(before)
        if end <= 0:
            self._hold(data)
            return b""
        whole = self.close() + data[:end]
        if end < len(data):
            self._hold(data[end:])
        return whole

    def _hold(self, data: bytes) -> None:
        self._held_bytes += len(data)
        if self._held_bytes > self._max:
            error = UpstreamBroken(f"The upstream sent an event of more than {self._max} bytes.")
            error.cause = "one of its events is larger than streams.max_event_bytes allows"
            raise error
        if self._held and len(self._held[-1]) < _SMALL:
            data = self._held.pop() + data
        self._held.append(data)


def _last_event_end(data: bytes) -> int:
    """The offset after the last blank line; 0 if there is none."""
    if data.endswith(b"\n\n"):
        return len(data)
    if b"\r" not in data:
        found = data.rfind(b"\n\n")
        return found + 2 if found >= 0 else 0
    end = 0
    for match in _BLANK_LINE.finditer(data):
        end = match.end()
    return end


def is_stream(head: bytes, labelled: bool) -> bool | None:
    """Whether a body that begins with ``head`` is an event stream; ``None`` if that is too short to tell.

    The label decides only if the body looks like neither a stream nor JSON: many servers send the wrong one.
    """
    begun = b"" if _BOM.startswith(head) else head[:256].removeprefix(_BOM).lstrip()
    if begun.startswith((b"{", b"[")):
        return False
    if begun.startswith(_FIELDS):
        return True
    return None if any(field.startswith(begun) for field in _FIELDS) else labelled


def split(block: bytes) -> Iterator[bytes]:
    """The raw events of ``block``, blank lines included; the last one may lack its blank line."""
    start = 0
    for end in _event_ends(block):
        yield block[start:end]
        start = end
    if start < len(block):
        yield block[start:]


def _event_ends(block: bytes) -> Iterator[int]:
    if b"\r" in block:
        yield from (match.end() for match in _BLANK_LINE.finditer(block))
        return
    end = 0  # a search for plain bytes takes a fraction of the time
    while (found := block.find(b"\n\n", end)) >= 0:
        end = found + 2
        yield end


def parse(event: bytes) -> Event | None:
    """Read one event; ``None`` if it carries no data (a comment, a stray blank line)."""
    data: list[bytes] = []
    name: str | None = None
    plain = event.removeprefix(_BOM)
    for line in _LINE.split(plain) if b"\r" in plain else plain.split(b"\n"):
        field, colon, value = line.partition(b":")
        if colon and value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return Event(b"\n".join(data), name) if data else None


def events(block: bytes) -> Iterator[Event]:
    """All events with data in ``block``."""
    for raw in split(block):
        event = parse(raw)
        if event is not None:
            yield event


def encode(data: bytes, name: str | None = None) -> bytes:
    """One event on the wire; ``data`` has no line breaks (JSON has none)."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    """A comment: keeps a connection alive; clients ignore it."""
    return b": " + text.encode() + b"\n\n"
