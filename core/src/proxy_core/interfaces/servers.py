"""HTTP servers that can run a proxy, and what the proxy tells the one that does.

A server accepts connections, speaks HTTP and calls the application. Signals, workers, what a graceful shutdown
means and the limits are the proxy's own, and thus the same under each.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from ssl import SSLContext
from typing import Any

from msgspec import Struct

from proxy_core.settings.schema import ServerSettings

__all__ = ["AsgiApp", "Hosting", "HttpServer"]

_Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]

#: The largest head of a request: request line and headers.
MAX_HEAD_BYTES = 128 * 1024
BACKLOG = 2048
#: How long requests may take to end after they were interrupted.
GRACE_S = 5.0
#: So many pieces may be tiny. Each costs 20 microseconds, and no honest client sends more.
TINY_PIECES, TINY = 8192, 64


class Hosting(Struct, frozen=True, kw_only=True):
    """What a server gets. It takes the sockets over.

    ``max_head_bytes`` limits the request line and headers. A server that joins the pieces of a body allows
    ``tiny_pieces`` of fewer than ``tiny_bytes``.
    """

    app: AsgiApp
    settings: ServerSettings
    sock: socket.socket
    #: A Unix socket that only its owner can reach, so it is always served without TLS.
    control: socket.socket | None
    #: Returns once no further request is to be accepted; running ones then end within ``limit_s``.
    stopping: Callable[[], Awaitable[None]]
    #: To be called with the TLS context that the server uses: a renewed certificate is then put into it.
    keep_current: Callable[[SSLContext], None] = lambda context: None
    backlog: int = BACKLOG
    max_head_bytes: int = MAX_HEAD_BYTES
    tiny_bytes: int = TINY
    tiny_pieces: int = TINY_PIECES

    @property
    def limit_s(self) -> float:
        return self.settings.shutdown_grace_s + GRACE_S


class HttpServer(Struct, frozen=True, kw_only=True):
    """``serve`` opens the application, serves it until ``stopping`` returns and requests have ended, and closes it.

    ``check`` raises ``SettingsError`` for what this server cannot do, before anything starts.
    """

    name: str
    serve: Callable[[Hosting], Awaitable[None]]
    check: Callable[[ServerSettings], None] | None = None
