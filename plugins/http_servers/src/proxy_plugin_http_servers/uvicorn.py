"""Runs a proxy on uvicorn with httptools, a faster parser of HTTP/1.1 (``proxy-core[uvicorn]``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterable, Iterator
from functools import partial

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn import Config, Server
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy_core import Hosting
from proxy_plugin_http_servers.lifespan import open_around

#: So many requests may wait for their turn on one connection before no more is read.
_WAITING = 8
_OFFER = frozenset({b"upgrade", b"http2-settings"})


async def serve(hosting: Hosting) -> None:
    await open_around(hosting.app, partial(_serve, hosting))


async def _serve(hosting: Hosting) -> None:
    """A uvicorn for each socket, because one of them uses TLS on all of its sockets or on none."""
    servers = [(_Server(_config(hosting, tls=True)), hosting.sock)]
    if hosting.control is not None:
        servers.append((_Server(_config(hosting, tls=False)), hosting.control))
    async with asyncio.TaskGroup() as tasks:
        for server, sock in servers:
            tasks.create_task(server.serve(sockets=[sock]))
        await hosting.stopping()
        for server, _ in servers:
            server.should_exit = True


def _config(hosting: Hosting, *, tls: bool) -> Config:
    settings = hosting.settings
    config = Config(
        hosting.app,
        interface="asgi3",
        http=_protocol(hosting),
        ws="none",
        lifespan="off",
        workers=1,  # or else it reads WEB_CONCURRENCY
        proxy_headers=False,
        forwarded_allow_ips="",  # or else it reads FORWARDED_ALLOW_IPS
        server_header=False,
        backlog=hosting.backlog,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(hosting.limit_s),
        log_config=None,
        log_level=logging.ERROR,  # it warns of each invalid request, and anybody can send these
        access_log=False,
        ssl_certfile=settings.tls_certificate if tls else None,
        ssl_keyfile=settings.tls_key if tls else None,
    )
    config.load()
    if config.ssl is not None:
        hosting.keep_current(config.ssl)
    return config


class _Server(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by the proxy itself."""
        yield


def _protocol(hosting: Hosting) -> type[HttpToolsProtocol]:
    return type("_Limited", (_Protocol,), {"hosting": hosting, "keep_alive_s": hosting.settings.keep_alive_s})


class _Refused(Exception):
    """Makes the parser stop."""


class _Protocol(HttpToolsProtocol):
    """Adds what uvicorn with httptools lacks: limits on the size of a request's head and on the time until it is
    complete, one on tiny chunks, and bodies of requests that offer to change to another protocol.
    """

    hosting: Hosting
    keep_alive_s: float
    #: When the connection began to wait for a head; ``None`` during a request.
    _waits_since: float | None
    #: Bytes received since the last that were passed on: of a head, of trailers or of a chunk's extensions.
    _unread = 0
    #: So many tiny pieces of this body have come; uvicorn joins them before the application could count them.
    _tiny = 0
    _timer: asyncio.TimerHandle
    #: The request that is being answered.
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        self._timer = self.loop.call_later(self.keep_alive_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        running = self._running
        if running is not None and not running.response_complete:  # uvicorn tells the last request that arrived
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unread += len(data)
        while data:
            data = self._read(data)
        if self._unread > self.hosting.max_head_bytes:
            self._refuse("The head of the request is too large.")

    def _read(self, data: bytes) -> bytes:
        """Returns what is to be read again."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            return self._without_offer(data[offer.args[0] :])
        except HttpParserError:
            self._refuse("Invalid HTTP request received.")
        return b""

    def _without_offer(self, rest: bytes) -> bytes:
        """The request again, without its offer of another protocol.

        After a head with such an offer httptools ends the request, whatever its length, and would take its body for
        the next request: https://github.com/MagicStack/httptools/issues/124.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT" or self.pipeline:  # no offer; or many at once, each of which would copy the rest
            self._refuse("Invalid HTTP request received.")
            return b""
        self.parser = HttpRequestParser(self)
        headers = b"".join(b"%b: %b\r\n" % header for header in _without_offer(self.headers))
        return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self.url, version, headers, rest)

    def _refuse(self, message: str) -> None:
        if self.transport.is_closing():
            return
        if self._waits_since is not None or not (self.pipeline or self.cycle.response_started):
            self.send_400_response(message)
        self.transport.close()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._unread = self._tiny = 0
        self._waits_since = None
        super().on_headers_complete()
        self.headers = []  # trailers are not headers
        if len(self.pipeline) <= _WAITING:
            self.flow.resume_reading()  # uvicorn would not notice that the client leaves

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        if len(body) < self.hosting.tiny_bytes:
            self._tiny += 1
            if self._tiny > self.hosting.tiny_pieces:
                self._refuse("The request body is split into too many tiny chunks.")
                raise _Refused
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request is here already
            self._waits_since = self.loop.time()

    def _look(self) -> None:
        """One timer per connection instead of one per request."""
        waited_s = 0.0 if self._waits_since is None else self.loop.time() - self._waits_since
        if waited_s >= self.keep_alive_s:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(self.keep_alive_s - waited_s, self._look)


def _without_offer(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            yield name, b", ".join(option for option in options if option.lower() not in _OFFER)
        elif name not in _OFFER:
            yield name, value
