"""The only connections to providers: httpx's request and response over aiohttp's connections.

httpx's own transport costs four to five times as much. The client layer above the transport
(cookies, redirects, per-request URL work) is left out because a proxy needs none of it: no cookie
of one account may reach another, and a redirect is a response to relay, not to follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpx

from proxy_core.errors import forget_frames
from proxy_core.messages import TransportFault, UpstreamRequest
from proxy_core.network.transport import Resolver, fault_of, open_transport, warm_up
from proxy_core.network.upload import SLICED_ABOVE, Progress, slices

if TYPE_CHECKING:
    from httpx_aiohttp import AiohttpTransport

_MAX_ERROR_BYTES = 64 * 1024


class TransportError(Exception):
    """An exchange that failed without a status. The cause is chained; its text may contain addresses."""

    def __init__(self, fault: TransportFault) -> None:
        super().__init__(fault)
        self.fault: TransportFault = fault


class ResponseTooLarge(Exception):
    """A plain response exceeded ``upstream.max_response_bytes``."""


@lru_cache(maxsize=256)
def _url(text: str) -> httpx.URL:
    """Cached: destinations come from settings, so they are few, and parsing one is expensive."""
    return httpx.URL(text)


class UpstreamResponse:
    """A status and headers that have arrived, and a body to be read. Must be closed."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces as they arrive, decompressed. Raises ``TransportError``."""
        encoded = self.headers.get("content-encoding", "identity").lower() not in ("", "identity")
        # Only encoded bodies need httpx's decoding layer.
        source = self._response.aiter_bytes() if encoded else aiter(self._response.stream)  # type: ignore[arg-type]  # async transport, async stream
        return _translated(source)

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
        await self._response.aclose()


async def _translated(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in source:
            yield piece
    except httpx.DecodingError as error:
        raise TransportError("unreadable") from error
    except (httpx.TransportError, OSError) as error:
        forget_frames(error.__cause__)
        raise TransportError("cut") from error


class Upstream:
    """Connections to all providers. An async context manager; opens nothing before its first request."""

    def __init__(
        self,
        *,
        user_agent: str,
        max_connections: int,
        connect_s: float,
        pool_s: float,
        resolver: Resolver | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._resolver = resolver
        self._max_connections = max_connections
        self.configure(connect_s=connect_s, pool_s=pool_s)
        self._open: AiohttpTransport | None = None

    def configure(self, *, connect_s: float, pool_s: float) -> None:
        """Use these timeouts, from the next request on."""
        self._extensions = {"timeout": {"connect": connect_s, "pool": pool_s + connect_s, "read": None, "write": None}}

    async def __aenter__(self) -> Self:
        # In the background, so that the first request need not wait for it.
        asyncio.get_running_loop().run_in_executor(None, warm_up)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            await self._open.aclose()

    async def send(self, request: UpstreamRequest, progress: Progress | None = None) -> UpstreamResponse:
        """Send and wait for the status. Raises ``TransportError``; the caller's scope is the deadline.

        ``progress`` receives the number of unsent bytes of a large body, before each slice and at the end.
        """
        headers = [("accept-encoding", "identity"), *request.headers]
        if not any(name.lower() == "user-agent" for name, _ in request.headers):
            headers.insert(0, ("user-agent", self._user_agent))
        content: bytes | AsyncIterator[bytes] = request.content
        if len(request.content) > SLICED_ABOVE:
            headers.append(("content-length", str(len(request.content))))
            content = slices(request.content, progress)
        try:
            sent = httpx.Request(
                request.method, _url(request.url), headers=headers, content=content, extensions=self._extensions
            )
            transport = self._open or await self._opened()
            return UpstreamResponse(await transport.handle_async_request(sent))
        except httpx.InvalidURL as error:
            raise TransportError("connect") from error
        except (httpx.TransportError, OSError) as error:
            forget_frames(error.__cause__)
            raise TransportError(fault_of(error)) from error

    @asynccontextmanager
    async def exchange(self, request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """A response that is closed when the block ends."""
        response = await self.send(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _opened(self) -> AiohttpTransport:
        context = await asyncio.to_thread(warm_up)
        if self._open is None:  # another request may have opened it meanwhile
            self._open = open_transport(self._max_connections, self._resolver, context)
        return self._open
