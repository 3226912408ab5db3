"""What Hypercorn 0.18 lacks, in one place. Each part can go once Hypercorn does it.

- Closing a connection as soon as its client has: it waits for ``keep_alive_timeout`` first, so that a thousand plain
  requests use up a thousand descriptors for that time. https://github.com/pgjones/hypercorn/issues/170 is related.
- Refusing a request with both ``content-length`` and ``transfer-encoding``: h11 goes by one of them, and a server in
  front of the proxy may go by the other (RFC 9112, 6.3).
- Ending a connection at a shutdown on which a client has sent its next request already: Hypercorn goes on waiting to
  read it, until ``graceful_timeout``.
- Speaking only HTTP/1.1: over HTTP/2 nothing limits what is queued for a client that does not read.
"""

from __future__ import annotations

from typing import Any

import h11
import hypercorn.asyncio.run
import hypercorn.protocol
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol


class FixedConfig(Config):
    """``http2``: whether h2c may be used; ``alpn_protocols`` says so for TLS."""

    http2 = False


def install() -> None:
    """Hypercorn offers no way to pass these to it."""
    vars(hypercorn.asyncio.run)["TCPServer"] = _Connection
    vars(hypercorn.protocol)["H11Protocol"] = _Http1


class _Connection(TCPServer):
    async def _read_data(self) -> None:
        await super()._read_data()  # returns when the client has closed the connection
        await self.idle_task.stop()


class _Http1(H11Protocol):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection = _Parser(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def _maybe_recycle(self) -> None:
        if isinstance(self.connection, _Parser):
            self.connection.is_last = self.context.terminated.is_set()
        await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        if getattr(self.config, "http2", False):
            await super()._check_protocol(event)


class _Parser(h11.Connection):
    is_last = False

    def next_event(self) -> Any:
        event = super().next_event()
        if event is h11.PAUSED and self.is_last:
            return h11.NEED_DATA
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"content-length" in names and b"transfer-encoding" in names:
                raise h11.RemoteProtocolError("both content-length and transfer-encoding", error_status_hint=400)
        return event
