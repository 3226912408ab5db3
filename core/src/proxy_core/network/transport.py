"""The transport below httpx: aiohttp's connections, at a quarter of the cost, and the mapping of their errors."""

from __future__ import annotations

import socket
import ssl
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from proxy_core.messages import TransportFault
from proxy_core.network.tls import tls_context

if TYPE_CHECKING:
    from httpx_aiohttp import AiohttpTransport

_KEEP_ALIVE_S = 60.0


class Resolver(Protocol):
    """A name resolver in aiohttp's interface."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]: ...
    async def close(self) -> None: ...


def warm_up() -> ssl.SSLContext:
    """Prepare what the first request needs and what would block the event loop for too long."""
    import_module("httpx_aiohttp")
    return tls_context()


def open_transport(max_connections: int, resolver: Resolver | None, context: ssl.SSLContext) -> AiohttpTransport:
    # Imported late: aiohttp takes longer to import than the rest of the core.
    import aiohttp
    from httpx_aiohttp import AiohttpTransport

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=max_connections,
            keepalive_timeout=_KEEP_ALIVE_S,
            ssl=context,
            resolver=resolver,  # type: ignore[arg-type]  # aiohttp declares its own base class, which adds nothing
            use_dns_cache=resolver is None,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept", "accept-encoding"),
        # The environment and .netrc must not influence where providers' requests go.
        trust_env=False,
    )
    # The base class would build a second, unused context.
    return AiohttpTransport(client=session, verify=context)


def fault_of(error: Exception) -> TransportFault:
    """Distinguish a connection that was never opened from one that was lost.

    httpx-aiohttp 0.2 maps every ``ClientConnectionError`` to ``ConnectTimeout``, including a lost
    keep-alive connection; the chained cause is more precise.
    """
    import aiohttp

    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) or isinstance(
        error, httpx.ConnectError | httpx.UnsupportedProtocol
    ):
        return "connect"
    return "disconnect"
