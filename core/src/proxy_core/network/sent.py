"""Adapts responses of providers that do their own I/O to the type that the core's connections return."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from proxy_core.interfaces import ByteStream, Credential, Send, TransportFailed
from proxy_core.messages import UpstreamRequest
from proxy_core.network.upstream import TransportError, UpstreamResponse


async def sent_by(send: Send, request: UpstreamRequest, credential: Credential) -> UpstreamResponse:
    """The response of a provider that does its own I/O. Raises ``TransportError``, ``TimeoutError``."""
    try:
        response = await send(request, credential)
    except TransportFailed as error:
        raise TransportError("disconnect" if error.sent else "connect") from error
    body = httpx.ByteStream(response.body) if isinstance(response.body, bytes) else _ByteStream(response.body)
    return UpstreamResponse(httpx.Response(response.status, headers=dict(response.headers), stream=body))


class _ByteStream(httpx.AsyncByteStream):
    """A body that does not come from the core's connections."""

    def __init__(self, pieces: ByteStream) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)

    async def aclose(self) -> None:
        await self._pieces.aclose()
