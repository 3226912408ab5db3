"""Adapts responses of providers that do their own I/O to the type that the core's connections return."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from proxy_core.interfaces import ByteStream, Credential, Send, TransportFailed
from proxy_core.messages import UpstreamRequest
from proxy_core.network.errors import TransportError
from proxy_core.network.headers import header_map
from proxy_core.network.upstream import UpstreamResponse


async def sent_by(send: Send, request: UpstreamRequest, credential: Credential) -> UpstreamResponse:
    """The response of a provider that does its own I/O. Raises ``TransportError``, ``TimeoutError``."""
    try:
        response = await send(request, credential)
    except TransportFailed as error:
        raise TransportError("disconnect" if error.sent else "connect") from error
    body = response.body
    pieces, close = (_whole(body), _nothing) if isinstance(body, bytes) else (_streamed(body), body.aclose)
    return UpstreamResponse(response.status, header_map(response.headers), pieces, close)


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _streamed(body: ByteStream) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in body:
            yield piece
    except OSError as error:
        raise TransportError("cut") from error


async def _nothing() -> None:
    """A body of bytes has nothing to close."""
