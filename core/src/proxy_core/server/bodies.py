"""Collects request bodies, within limits of size, time and fragmentation, and decompresses them."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from proxy_core.clock import Clock
from proxy_core.errors import BadRequest, BodyTooLarge, BodyTooSlow
from proxy_core.interfaces.servers import TINY, TINY_PIECES
from proxy_core.jsons import beside
from proxy_core.network.decoding import UnknownEncoding, decompressor, layer
from proxy_core.server.interrupt import Interruptible

#: How long a body may take, plus a second for each of these many bytes.
BODY_S = 60.0
_BYTES_PER_S = 8 * 1024


class BodyParts:
    """The parts of one body."""

    __slots__ = ("_limit", "_parts", "complete", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self.size = 0
        self.complete = False

    def add(self, part: bytes, *, last: bool = False) -> None:
        """Raises ``BodyTooLarge`` as soon as the limit is exceeded, and ``BadRequest`` for a body of tiny pieces."""
        self._parts.append(part)
        self.complete = last
        self.size += len(part)
        if self.size > self._limit:
            raise BodyTooLarge(f"The request body is larger than {self._limit} bytes.")
        if len(self._parts) > TINY_PIECES and self.size < TINY * len(self._parts):
            raise BadRequest("The request body is split into too many tiny chunks.")

    def whole(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def left_s(self, elapsed_s: float) -> float:
        """How much time is left for the rest to arrive."""
        return max(0.0, BODY_S + self.size / _BYTES_PER_S - elapsed_s)


class TimedBody(BodyParts):
    """Interrupts ``request`` if the body does not arrive in time."""

    __slots__ = ("_clock", "_request", "_started", "_timer")

    def __init__(self, limit: int, clock: Clock, request: Interruptible) -> None:
        super().__init__(limit)
        self._clock, self._request, self._started = clock, request, clock.monotonic()
        self._timer = clock.call_later(BODY_S, self._look)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self.left_s(self._clock.monotonic() - self._started)
        if self.complete:
            return
        if left_s:
            self._timer = self._clock.call_later(left_s, self._look)
        else:
            self._request.interrupt(BodyTooSlow())


async def read_body(request: Request, limit: int, clock: Clock) -> bytes:
    """Raises ``BodyTooLarge``, ``BodyTooSlow``, ``BadRequest``."""
    parts, started = BodyParts(limit), clock.monotonic()
    try:
        async with clock.timeout(BODY_S) as scope:
            async for part in request.stream():
                parts.add(part)
                scope.reschedule(parts.left_s(clock.monotonic() - started))
    except TimeoutError:
        raise BodyTooSlow from None
    except ClientDisconnect:
        return b""
    return parts.whole()


# --- Compressed bodies: a few kilobytes can hold gigabytes ---------------------------------

_KNOWN = "gzip, deflate, br, zstd"


async def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Raises ``BodyTooLarge``; ``BadRequest`` for an unknown encoding (415) and for damaged data."""
    try:
        name = layer(encoding)
        return body if name is None else await beside(_whole, body, name, limit)
    except UnknownEncoding as error:
        refused = BadRequest(f"The request body has {error}; this server reads {_KNOWN}.", code="unsupported_encoding")
        refused.status = 415
        raise refused from None
    except ValueError as error:
        raise BadRequest(f"The request body is not what its content-encoding says: {error}.") from None


def _whole(body: bytes, encoding: str, limit: int) -> bytes:
    stream = decompressor(encoding)
    parts, size = [], 0
    for piece in stream.pieces(body):
        parts.append(piece)
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(f"The request body is larger than {limit} bytes after it was decompressed.")
    stream.close()
    return b"".join(parts)
