"""What Hypercorn 0.18 lacks, in one place. Each part can go once Hypercorn does it.

- Closing a connection as soon as its client has: it waits for ``keep_alive_timeout`` first, so that a thousand plain
  requests use up a thousand descriptors for that time. https://github.com/pgjones/hypercorn/issues/170 is related.
- Ending a connection whose client has left: if the queue to the application was full of pieces of a body at that time,
  both the connection and the application wait for room in it, without end.
- Refusing a request with both ``content-length`` and ``transfer-encoding``: h11 goes by one of them, and a server in
  front of the proxy may go by the other (RFC 9112, 6.3).
- Ending a connection at a shutdown on which a client has sent its next request already: Hypercorn goes on waiting to
  read it, until ``graceful_timeout``.
- Noticing that a client leaves while the request behind its present one waits: Hypercorn does not read meanwhile.
  Behind more than ``h11_max_incomplete_size`` bytes, it still goes unnoticed.
- Empty lines before a request, which clients may send (RFC 9112, 2.2).
- Speaking only HTTP/1.1: over HTTP/2 nothing limits what is queued for a client that does not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from ssl import SSLContext
from types import MethodType
from typing import Any, cast

import h11
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import EventWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol


class FixedConfig(Config):
    """``http2``: whether h2c may be used; ``alpn_protocols`` says so for TLS.

    ``keep_current`` is called with the TLS context.
    """

    http2 = False
    keep_current: Callable[[SSLContext], None] | None = None

    def create_ssl_context(self) -> SSLContext | None:
        context = super().create_ssl_context()
        if context is not None and self.keep_current is not None:
            self.keep_current(context)
        return context


def install() -> None:
    """Hypercorn offers no way to pass these to it."""
    vars(hypercorn.asyncio.run)["TCPServer"] = _Connection
    vars(hypercorn.asyncio.tcp_server)["TaskGroup"] = _Tasks
    vars(hypercorn.protocol)["H11Protocol"] = _Http1


class _Connection(TCPServer):
    _left = False

    async def _read_data(self) -> None:
        await super()._read_data()  # returns when the client has closed the connection
        self._left = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """After its last response, such a connection waits for nothing."""
        if not (self._left and isinstance(event, Updated)):
            await super().protocol_send(event)


class _Tasks(TaskGroup):
    async def spawn_app(self, *arguments: Any) -> Callable[[Any], Awaitable[None]]:
        put = await super().spawn_app(*arguments)
        # Hypercorn hands out no more of the queue than this method.
        queue = cast(asyncio.Queue[Any], cast(MethodType, put).__self__)

        async def put_or_end(message: Any) -> None:
            if message["type"].endswith(".disconnect") and queue.full():
                while not queue.empty():
                    queue.get_nowait()
            await put(message)

        return put_or_end


class _Http1(H11Protocol):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection = _Parser(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self.can_read = cast(EventWrapper, _Turn(self.can_read, self._read_ahead))

    async def _read_ahead(self, turn: asyncio.Future[None]) -> None:
        """Read while the next request waits for its turn, and end the present one if the client leaves."""
        connection = cast(_Connection, cast(MethodType, self.send).__self__)
        reader, parser = connection.reader, self.connection
        room = self.config.h11_max_incomplete_size
        while not turn.done() and room > 0:
            data = await _unless(turn, reader.read(room))
            if data is None:
                return
            if not data:
                vars(parser)["is_last"] = True
                await self.handle(Closed())
                return
            room -= len(data)
            parser.receive_data(data)
        await turn

    async def _maybe_recycle(self) -> None:
        if isinstance(self.connection, _Parser):
            self.connection.is_last = self.context.terminated.is_set()
        await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        if getattr(self.config, "http2", False):
            await super()._check_protocol(event)


class _Turn:
    """Hypercorn's event for the turn of the next request, with something to do until then."""

    def __init__(self, event: Any, meanwhile: Callable[[asyncio.Future[None]], Awaitable[None]]) -> None:
        self.clear, self.set, self._event, self._meanwhile = event.clear, event.set, event, meanwhile

    async def wait(self) -> None:
        turn = asyncio.ensure_future(self._event.wait())
        try:
            await self._meanwhile(turn)
        finally:
            turn.cancel()


async def _unless(turn: asyncio.Future[None], read: Coroutine[Any, Any, bytes]) -> bytes | None:
    """What was read, nothing at the end of the connection; ``None`` if it was the turn first."""
    reading: asyncio.Future[bytes] = asyncio.ensure_future(read)
    both: set[asyncio.Future[Any]] = {turn, reading}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    if reading.cancelled():
        return None
    return b"" if isinstance(reading.exception(), OSError) else reading.result()


class _Parser(h11.Connection):
    is_last = False

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE or self.their_state is h11.DONE:
            waiting = self._receive_buffer._data
            if waiting[:2] == b"\r\n":  # all at once, or a flood of them would be expensive
                self._receive_buffer.maybe_extract_at_most(len(waiting) - len(waiting.lstrip(b"\r\n")))
        event = super().next_event()
        if event is h11.PAUSED and self.is_last:
            return h11.NEED_DATA
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"content-length" in names and b"transfer-encoding" in names:
                raise h11.RemoteProtocolError("both content-length and transfer-encoding", error_status_hint=400)
        return event
