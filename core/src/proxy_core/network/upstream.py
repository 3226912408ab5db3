"""The only connections to providers: aiohttp's, at a quarter of the cost of httpx's own.

There are no cookies and no redirects: no cookie of one account may reach another, and a redirect is
a response to relay, not to follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from proxy_core.errors import forget_frames
from proxy_core.messages import UpstreamRequest
from proxy_core.network.decoding import decoded
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.headers import header_map, request_headers
from proxy_core.network.routes import DIRECT, AddressCheck, Route
from proxy_core.network.tls import warm_up
from proxy_core.network.upload import Progress, sent_body

if TYPE_CHECKING:
    import aiohttp

    from proxy_core.network.connections import Connections

_MAX_ERROR_BYTES = 64 * 1024
#: How often a request is sent again because the pooled connection under it turned out to be dead. More than
#: once, because connections that were in use while the idle ones were discarded may be dead, too.
_STALE_RETRIES = 3
_DRAIN_S = 0.2


class UpstreamResponse(Struct):
    """A status and headers that have arrived, and a body to be read. Must be closed. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    _pieces: AsyncGenerator[bytes, None]
    _close: Callable[[], Awaitable[None]]

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they arrive, decompressed. Raises ``TransportError``."""
        encoding = self.headers.get("content-encoding")
        return self._pieces if encoding is None else decoded(self._pieces, encoding)

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ``TransportError``, ``ResponseTooLarge``."""
        parts, size = [], 0
        async for piece in self.pieces():
            parts.append(piece)
            size += len(piece)
            if size > limit:
                raise ResponseTooLarge
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_error(self) -> bytes:
        """The beginning of an error body, even if the rest of it never arrives."""
        body = b""
        with suppress(TransportError):
            async for piece in self.pieces():
                body += piece
                if len(body) >= _MAX_ERROR_BYTES:
                    break
        return body[:_MAX_ERROR_BYTES]

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        await self._pieces.aclose()
        await self._close()


class Upstream:
    """Connections to all providers. An async context manager; opens nothing before its first request."""

    def __init__(
        self,
        *,
        user_agent: str,
        max_connections: int,
        connect_s: float,
        pool_s: float,
        routes: Mapping[str, Route] | None = None,
        guard: AddressCheck | None = None,
    ) -> None:
        """``routes``: by provider; ``""`` is the route of everything else. ``guard`` checks every connection."""
        self._user_agent = user_agent
        self._guard = guard
        self._max_connections = max_connections
        self._open: Connections | None = None
        self.configure(connect_s=connect_s, pool_s=pool_s, routes=routes or {})

    def configure(self, *, connect_s: float, pool_s: float, routes: Mapping[str, Route]) -> None:
        """Use these timeouts and routes, from the next request on."""
        self._limits, self._routes = (connect_s, pool_s), routes
        if self._open is not None:
            self._open.limit(connect_s, pool_s)

    async def __aenter__(self) -> Self:
        # In the background, so that the first request need not wait for it.
        asyncio.get_running_loop().run_in_executor(None, warm_up)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._open is not None:
            await self._open.aclose()

    async def send(
        self, request: UpstreamRequest, progress: Progress | None = None, *, provider: str = "", resend: bool = True
    ) -> UpstreamResponse:
        """Send and wait for the status. Raises ``TransportError``; the caller's scope is the deadline.

        ``resend``: send it again if a pooled connection was dead. A dead connection and a server that took the request
        and then closed look alike, so a request that must not arrive twice is not sent again.
        ``progress`` receives the number of unsent bytes of a large body, before each slice and at the end.
        """
        headers = request_headers(request, self._user_agent)
        connections = self._open or await self._opened()
        route = self._routes.get(provider) or self._routes.get("", DIRECT)
        for _ in range(_STALE_RETRIES if resend else 1):
            body = sent_body(request.content, progress)
            try:
                response = await connections.request(request.method, request.url, headers, body, route)
                return _response(response, connections)
            except connections.STALE:
                connections.discard_idle(request.url, route)
            except connections.ERRORS as error:
                forget_frames(error.__cause__)
                raise TransportError(*connections.fault_of(error)) from error
        raise TransportError("disconnect", "it closed the connection without an answer")

    @asynccontextmanager
    async def exchange(
        self, request: UpstreamRequest, *, provider: str = "", resend: bool = True
    ) -> AsyncIterator[UpstreamResponse]:
        """A response that is closed when the block ends."""
        response = await self.send(request, provider=provider, resend=resend)
        try:
            yield response
        finally:
            await response.aclose()

    async def _opened(self) -> Connections:
        context = await asyncio.to_thread(warm_up)
        if self._open is None:  # another request may have opened it meanwhile
            from proxy_core.network.connections import Connections

            self._open = Connections(self._max_connections, self._guard, context)
            self._open.limit(*self._limits)
        return self._open


def _response(response: aiohttp.ClientResponse, connections: Connections) -> UpstreamResponse:
    headers, pieces = header_map(response.headers), _pieces(response, connections)
    return UpstreamResponse(response.status, headers, pieces, partial(_close, response))


async def _pieces(response: aiohttp.ClientResponse, connections: Connections) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in response.content.iter_any():
            yield piece
    except connections.ERRORS as error:
        forget_frames(error.__cause__)
        raise TransportError("cut", connections.cut_by(error)) from error


async def drain(pieces: AsyncGenerator[bytes, None]) -> None:
    """Read what follows the end of a response, mostly that of its framing, so that the connection can be reused."""
    with suppress(TransportError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in pieces:
                pass


async def _close(response: aiohttp.ClientResponse) -> None:
    response.release()
    await response.wait_for_close()
