"""Runs a proxy on granian, whose HTTP is written in Rust and runs in a thread of its own (``proxy-core[granian]``)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from functools import partial
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]  # not marked as exported
from granian.server.embed import Server

from proxy_core import AsgiApp, Hosting
from proxy_plugin_http_servers.lifespan import open_around

#: By default granian makes connections wait beyond 128 at once.
_MANY = 1_000_000
#: How long the last responses may take to leave.
_FLUSH_S = 1.0


async def serve(hosting: Hosting) -> None:
    await open_around(hosting.app, partial(_serve, hosting))


async def _serve(hosting: Hosting) -> None:
    """A granian for each socket, because it has one."""
    app = _Counted(hosting.app)
    servers = [_Server(app, hosting.sock, hosting, tls=True)]
    if hosting.control is not None:
        servers.append(_Server(app, hosting.control, hosting, tls=False))
    async with asyncio.TaskGroup() as tasks:
        for server in servers:
            tasks.create_task(server.serve())
        await hosting.stopping()
        for server in servers:
            server.stop()  # type: ignore[no-untyped-call]


class _Counted:
    """The application, and whether none of its requests is running."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._running = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._running += 1
        self.idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            if not self._running:
                self.idle.set()


class _Server(Server):
    """Serves on a socket that is already listening."""

    def __init__(self, app: _Counted, sock: socket.socket, hosting: Hosting, *, tls: bool) -> None:
        settings = hosting.settings
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=hosting.backlog,
            backpressure=_MANY,
            http1_settings=HTTP1Settings(
                header_read_timeout=max(1, round(settings.keep_alive_s * 1000)), max_buffer_size=hosting.max_head_bytes
            ),
            log_level=LogLevels.error,
            # Otherwise it replaces the handlers of the program's log.
            log_dictconfig={"incremental": True, "handlers": {}, "loggers": {}},
            ssl_cert=settings.tls_certificate if tls else None,
            ssl_key=settings.tls_key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._app, self._sock, self._hosting = app, sock, hosting

    def _init_shared_socket(self) -> None:
        is_unix = self._sock.family == socket.AF_UNIX
        self._shd: Any = SocketHolder(self._sock.detach(), is_unix, self._hosting.backlog)  # type: ignore[call-arg]  # its stub is incomplete

    async def _stop_workers(self) -> None:
        """Wait for requests, but not for connections that have sent half a head, as granian would."""
        for worker in self.wrks:
            worker.terminate()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._hosting.limit_s):
                await self._app.idle.wait()
        ended, _ = await asyncio.wait([worker._task for worker in self.wrks if worker._task], timeout=_FLUSH_S)
        for task in ended:
            task.result()  # raises what has kept it from serving
