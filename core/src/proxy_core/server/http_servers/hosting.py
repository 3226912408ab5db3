"""What the proxy tells the server that runs it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp

from proxy_core.settings.schema import ServerSettings

#: The largest head of a request: request line and headers.
MAX_HEAD_BYTES = 128 * 1024
BACKLOG = 1024
#: How long requests may take to end after they were interrupted.
GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """What a server gets. It takes the sockets over."""

    app: ASGIApp
    settings: ServerSettings
    sock: socket.socket
    #: A Unix socket that only its owner can reach, so it is always served without TLS.
    control: socket.socket | None
    #: Returns once no further request is to be accepted; running ones then end within ``limit_s``.
    stopping: Callable[[], Awaitable[None]]

    @property
    def limit_s(self) -> float:
        return self.settings.shutdown_grace_s + GRACE_S
