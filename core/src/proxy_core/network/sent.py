"""Adapts responses of providers with their own sockets to the form of the core's responses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from proxy_core.interfaces import ByteStream, Credential, Send, TransportFailed
from proxy_core.messages import UpstreamRequest
from proxy_core.network.upstream import TransportError, UpstreamResponse


async def sent_by(send: Send, request: UpstreamRequest, credential: Credential) -> UpstreamResponse:
    """The response of a provider with its own sockets. Raises ``TransportError``, ``TimeoutError``."""
    try:
        reply = await send(request, credential)
    except TransportFailed as error:
        raise TransportError("disconnect" if error.sent else "connect") from error
    body = httpx.ByteStream(reply.body) if isinstance(reply.body, bytes) else _ByteStream(reply.body)
    return UpstreamResponse(httpx.Response(reply.status, headers=dict(reply.headers), stream=body))


class _ByteStream(httpx.AsyncByteStream):
    """A body from a provider's own sockets."""

    def __init__(self, pieces: ByteStream) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)

    async def aclose(self) -> None:
        await self._pieces.aclose()
