"""Puts the client's name of the model into a relayed response; everything else stays byte for byte.

A client that requested a model under another name than the upstream's would take the response for that of another
model. Only the response's own member counts, never one of the same name inside content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy_core import sse
from proxy_core.dialects.common import json_bytes, load_object
from proxy_core.messages import JsonObject

_VALUE = re.compile(rb'\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_EVENT_ENDS = (b"}\n\n", b"}\r\n\r\n")
#: A member that has more on both sides stays as it is: reading megabytes would delay every stream.
_MOST_READ = 64 * 1024
#: Members of the same name that are looked at on either side.
_MOST_FOUND = 8


def finish_whole(response: bytes, body: JsonObject) -> bytes:
    """An OpenAI response with the name from the request's body."""
    return renamed(response, "model", body["model"])


def renamed(response: bytes, member: str, name: str) -> bytes:
    """A whole response with ``name`` as its ``member``, if it has that member."""
    found = _own(response, f'"{member}"'.encode())
    if found is None:
        return response
    view = memoryview(response)  # it may be large
    return b"".join([view[: found[1]], json_bytes(name), view[found[2] :]])


class ModelName:
    """The same for a stream, in blocks of whole events.

    Nearly all events of a stream have the same bytes up to the member, or from there to their end, so that after the
    first event a replacement of bytes suffices.
    """

    __slots__ = ("_done", "_key", "_name", "_new", "_old", "_size")

    def __init__(self, member: str, name: str) -> None:
        self._key = f'"{member}"'.encode()
        self._name = json_bytes(name)
        self._old = self._new = self._done = b""
        self._size = 0

    def put(self, block: bytes) -> bytes:
        old, size = self._old, self._size
        # One event; this calls nothing.
        if size and block[:size] == old and b"\n\n" not in block[:-2] and b"\r" not in block:
            return self._new + block[size:]
        if not size and 2 <= (end := block.find(b"\n\n") + 2) < len(block):
            first = self._put(block[:end])  # one read may hold many events: only the first is searched
            if self._size:
                return first + self.put(block[end:])
        out = block.replace(old, self._new) if old else block
        if out.count(self._key) == (out.count(self._done) if self._done else 0):
            return out
        events = list(sse.split(out))
        return self._put(out) if len(events) == 1 else b"".join(map(self.put, events))

    def _put(self, event: bytes) -> bytes:
        found = _own(event.replace(b"\ndata:", b"      "), self._key)  # JSON over several lines
        if found is None:
            return event
        at, value, end = found
        self._done = event[at:value] + self._name
        head, tail = event[:end], event[at:]
        if _flat(head):
            self._old, self._new = head, event[:at] + self._done
        elif tail.count(b"}") == 1 and b"{" not in tail and b"[" not in tail and tail.endswith(_EVENT_ENDS):
            self._old, self._new = tail, self._done + event[end:]
        self._size = len(self._old)
        return event[:at] + self._done + event[end:]


def _own(data: bytes, key: bytes) -> tuple[int, int, int] | None:
    """Where the object that ``data`` is, or the event has, names ``key``, where the value begins, and where it ends."""
    start = data.find(b"{")
    for at in _places(data, key):
        value = _VALUE.match(data, at + len(key))
        if value is not None and (_begins(data, start, at) or _ends(data, at)):
            return at, *value.span(1)
    return None


def _places(data: bytes, key: bytes) -> Iterator[int]:
    """Where ``key`` is, near the beginning and near the end."""
    at = -1
    for _ in range(_MOST_FOUND):
        at = data.find(key, at + 1, _MOST_READ)
        if at < 0:
            break
        yield at
    at = len(data)
    for _ in range(_MOST_FOUND):
        at = data.rfind(key, max(0, len(data) - _MOST_READ), at)
        if at < 0:
            break
        yield at


def _begins(data: bytes, start: int, at: int) -> bool:
    """Whether a member at ``at`` belongs to the object that begins at ``start``, judging by what is between them."""
    head = data[start:at] if at <= _MOST_READ else b""
    return _flat(head) or load_object(head + b'"":0}') is not None


def _ends(data: bytes, at: int) -> bool:
    """The same, judging by what follows."""
    return len(data) - at <= _MOST_READ and load_object(b"{" + data[at:]) is not None


def _flat(head: bytes) -> bool:
    """Whether an object begins with ``head``, and no other in it."""
    return head.count(b"{") == 1 and b"[" not in head
