"""What is captured of a running request for its record: bytes, most of which exist anyway.

It stores bytes, not lists of headers or chunks, because thousands of small waiting objects would
keep the garbage collector busy and slow requests down.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from proxy_core.interfaces import Dialect

Headers = Sequence[tuple[bytes, bytes]]
#: In longer streams, only the times of the first chunks are kept.
_MAX_PIECES = 2_000


def header_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers in wire format; a header cannot contain a newline."""
    return b"\n".join([name + b":" + value for name, value in headers])


class Budget(Struct):
    """The memory limit of all captures together, running or waiting to be written."""

    limit: int
    held: int = 0

    def take(self, size: int) -> bool:
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        self.held -= size


class AttemptCapture(Struct, kw_only=True):
    """``sent``: the body of the upstream's request; ``None`` if too large, as it is for the client's.

    An attempt without a response has no capture; ``number`` is the attempt's index, from 0.
    """

    number: int
    sent: bytes | None = None
    sent_bytes: int = 0
    headers: bytes = b""
    error_body: bytes = b""


class Capture(Struct, kw_only=True):
    """The capture of one request: up to ``max_body_bytes`` of each body, and nothing once the budget is used up."""

    dialect: Dialect
    path: str
    budget: Budget
    max_body_bytes: int
    headers: bytes = b""
    request_body: bytes | None = None
    request_bytes: int = 0
    attempts: list[AttemptCapture] = field(default_factory=list)
    reply: list[bytes] = field(default_factory=list)
    reply_bytes: int = 0
    reply_truncated: bool = False
    #: Alternating time and size of each chunk.
    pieces: array[float] = field(default_factory=lambda: array("d"))
    error: str | None = None
    held: int = 0

    def request_headers(self, headers: Headers) -> None:
        block = header_block(headers)
        if self._take(len(block)):
            self.headers = block

    def request(self, body: bytes) -> None:
        self.request_bytes = len(body)
        if len(body) <= self.max_body_bytes and self._take(len(body)):
            self.request_body = body

    def attempt(self, number: int, *, sent: bytes, headers: Mapping[str, str], error_body: bytes) -> None:
        kept = sent if len(sent) <= self.max_body_bytes and self._take(len(sent)) else None
        error_body = error_body if self._take(len(error_body)) else b""
        block = header_block(
            (name.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for name, v in headers.items()
        )
        block = block if self._take(len(block)) else b""
        self.attempts.append(
            AttemptCapture(number=number, sent=kept, sent_bytes=len(sent), headers=block, error_body=error_body)
        )

    def piece(self, data: bytes, at_s: float) -> None:
        """Capture bytes that are sent to the client."""
        size = len(data)
        self.reply_bytes += size
        if len(self.pieces) < 2 * _MAX_PIECES:
            self.pieces.append(at_s)
            self.pieces.append(size)
        if self.reply_truncated or self.reply_bytes > self.max_body_bytes or not self._take(size):
            self.reply_truncated = True
        else:
            self.reply.append(data)

    def release(self) -> None:
        self.budget.give_back(self.held)
        self.held = 0

    def _take(self, size: int) -> bool:
        if not self.budget.take(size):
            return False
        self.held += size
        return True
