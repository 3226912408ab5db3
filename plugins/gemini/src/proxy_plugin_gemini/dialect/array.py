"""A stream without ``alt=sse``: one JSON array whose objects arrive one by one, or one bare object."""

from __future__ import annotations

import re

from proxy_core import UpstreamBroken

_MARK = re.compile(rb'["\\{}]')


class ArraySplitter:
    """Extracts the objects of an array, however the bytes are split."""

    __slots__ = ("_at", "_depth", "_held", "_max", "_start", "_text")

    def __init__(self, max_bytes: int) -> None:
        self._held = b""
        self._max = max_bytes
        self._at = self._depth = 0
        self._start = -1
        self._text = False

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that are now complete."""
        held = self._held = self._held + data
        out, at = [], self._at
        while (mark := _MARK.search(held, at)) is not None:
            at = mark.end()
            sign = mark.group()
            if sign == b"\\":
                if at == len(held):  # the escaped character has not arrived yet
                    at -= 1
                    break
                at += 1
            elif sign == b'"':
                self._text = not self._text
            elif self._text:
                continue
            elif sign == b"{":
                if self._depth == 0:
                    self._start = at - 1
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    out.append(held[self._start : at])
                    self._start = -1
        else:
            at = len(held)
        cut = at if self._start < 0 else self._start
        self._held, self._at = held[cut:], at - cut
        self._start = -1 if self._start < 0 else 0
        if len(self._held) > self._max:
            raise UpstreamBroken(f"The upstream sent an event of more than {self._max} bytes.")
        return out

    @property
    def rest(self) -> bytes:
        """An incomplete object."""
        return self._held if self._start >= 0 else b""
