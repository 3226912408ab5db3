"""The transport below httpx: aiohttp's connections, at a quarter of the cost of httpx's own; and its errors."""

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
    """Resolves names to addresses, through the interface that aiohttp requires."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]: ...
    async def close(self) -> None: ...


def warm_up() -> ssl.SSLContext:
    """Prepare what the first request of a process needs and what would block the event loop for too long."""
    import_module("httpx_aiohttp")
    return tls_context()


def open_transport(max_connections: int, resolver: Resolver | None, context: ssl.SSLContext) -> AiohttpTransport:
    # Not imported at the top: importing aiohttp takes longer than importing all of proxy_core.
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
        # The proxy's environment must not redirect providers' requests, netrc least of all.
        trust_env=False,
    )
    # Passed because the base class would otherwise build a second, unused context.
    return AiohttpTransport(client=session, verify=context)


def fault_of(error: Exception) -> TransportFault:
    """Distinguish a connection that never opened from one that was lost.

    httpx-aiohttp 0.2 maps every ``ClientConnectionError`` to ``ConnectTimeout``, a lost
    keep-alive connection included; the chained cause is more precise.
    """
    import aiohttp

    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) or isinstance(
        error, httpx.ConnectError | httpx.UnsupportedProtocol
    ):
        return "connect"
    return "disconnect"
