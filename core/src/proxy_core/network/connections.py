"""aiohttp's connections, and what they lack. Imported late: importing aiohttp takes longer than all of proxy_core."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from proxy_core.network.causes import cut_by, fault_of
from proxy_core.network.routes import AddressCheck, Route

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

Headers = Sequence[tuple[str, str]]

_KEEP_ALIVE_S = 60.0
_LONGEST_CACHED = 1024
#: Servers behind gateways send cookies, policies and traces of several kilobytes; aiohttp's default is 8 KiB.
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS = 1000
#: A peer that acknowledges nothing for this long is gone: after sleep or a change of network, no reset arrives.
_UNACKNOWLEDGED_S = 20


class StaleConnection(aiohttp.ClientConnectionError):
    """A connection from the pool ended before the first byte of a response: the upstream never saw the request."""


class _Protocol(ResponseHandler):
    """One connection. It tells a connection that had died in the pool, and ends a body whose framing is broken.

    aiohttp 3.14 reports broken framing only to the caller that waits for the next response, so the reader of the
    body would wait until its idle timeout. The second half can go once aiohttp fails the body, too.
    """

    _exchanges = 0

    def set_response_params(self, **params: Any) -> None:
        self._exchanges += 1
        self._payload = None  # that of the previous response
        super().set_response_params(**params)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        body = self._payload
        unanswered = body is None and not self._buffer and not isinstance(exc, HttpProcessingError)
        if unanswered and self._exchanges > 1:
            exc = StaleConnection(str(exc))
        super().set_exception(exc, exc_cause)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(f"the framing of the body is broken: {exc}"))


class Connections:
    """All open connections."""

    STALE = StaleConnection
    ERRORS = (aiohttp.ClientError, OSError)
    fault_of = staticmethod(fault_of)
    cut_by = staticmethod(cut_by)

    def __init__(self, max_connections: int, guard: AddressCheck | None, context: ssl.SSLContext) -> None:
        self._max_connections = max_connections
        self._guard = guard
        self._context = context
        self._sessions: dict[object, aiohttp.ClientSession] = {}
        self._timeouts = aiohttp.ClientTimeout()

    def limit(self, connect_s: float, pool_s: float) -> None:
        """The longest time to open a connection, and to wait for a free one."""
        self._timeouts = aiohttp.ClientTimeout(connect=pool_s + connect_s, sock_connect=connect_s)

    def request(
        self, method: str, url: str, headers: Headers, body: bytes | AsyncIterator[bytes] | None, route: Route
    ) -> Awaitable[aiohttp.ClientResponse]:
        proxy = route.proxy_for(url)
        return self._session(route, proxy).request(
            method,
            _url(url, route.query),
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=self._timeouts,
            proxy=None if proxy is None or proxy.startswith("socks") else proxy,
            ssl=route.tls or True,
        )

    def discard_idle(self, url: str, route: Route) -> None:
        """Close the idle connections to this host: what ended one of them has mostly ended all."""
        host, port = _url(url, "").host, _url(url, "").port
        connector = self._session(route, route.proxy_for(url)).connector
        assert connector is not None
        for key in [key for key in connector._conns if (key.host, key.port) == (host, port)]:
            for protocol, _ in connector._conns.pop(key):
                protocol.close()

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _session(self, route: Route, proxy: str | None) -> aiohttp.ClientSession:
        """One for each Unix socket and each SOCKS proxy, and one for everything else."""
        key: object = route.unix_socket or (proxy if proxy is not None and proxy.startswith("socks") else None)
        return self._sessions.get(key) or self._sessions.setdefault(key, _session(self._connector(key)))

    def _connector(self, key: object) -> aiohttp.BaseConnector:
        options: Any = {"limit": self._max_connections, "keepalive_timeout": _KEEP_ALIVE_S}
        if isinstance(key, Path):
            return aiohttp.UnixConnector(str(key), **options)
        options["ssl"] = self._context
        if isinstance(key, str):
            from proxy_core.network.socks import SocksConnector

            return SocksConnector.through(key, _Protocol, **options)
        if self._guard is not None:
            return _GuardedConnector(self._guard, **options)
        return aiohttp.TCPConnector(socket_factory=_socket, **options)


class _GuardedConnector(aiohttp.TCPConnector):
    """Checks the address of every connection: before it is opened, and again before it is used."""

    def __init__(self, guard: AddressCheck, **options: Any) -> None:
        super().__init__(socket_factory=self._checked_socket, **options)
        self._guard = guard

    def _checked_socket(self, address: tuple[Any, ...]) -> socket.socket:
        self._guard(address[4][0])
        return _socket(address)

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109
        connection = await super().connect(req, traces, timeout)
        try:
            assert connection.transport is not None
            self._guard(connection.transport.get_extra_info("peername")[0])
        except BaseException:
            connection.close()
            raise
        return connection


def _url(text: str, query: str) -> URL:
    """Cached: destinations come from settings, so they are few, and parsing one is expensive. Long ones are links."""
    return _parsed(text, query) if len(text) <= _LONGEST_CACHED else _parsed.__wrapped__(text, query)


@lru_cache(maxsize=256)
def _parsed(text: str, query: str) -> URL:
    # Joined as text: yarl would encode the escapes of a query that it is given apart once more.
    return URL(f"{text}{'&' if '?' in text else '?'}{query}" if query else text)


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """A session that adds nothing of its own to a request."""
    loop = asyncio.get_running_loop()
    connector._factory = partial(_Protocol, loop=loop)  # type: ignore[assignment]  # a factory of a subclass
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
        auto_decompress=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
        # The proxy's environment must not redirect providers' requests, netrc least of all.
        trust_env=False,
    )


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED_S * 1000)):
        if hasattr(socket, name):  # they differ between systems
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
