"""Decompresses the body of an upstream that compresses although it was asked not to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import httpx

from proxy_core.network.errors import TransportError


async def decoded(pieces: AsyncGenerator[bytes, None], encoding: str) -> AsyncGenerator[bytes, None]:
    body = _Stream(pieces)
    try:
        async for piece in httpx.Response(200, headers={"content-encoding": encoding}, stream=body).aiter_bytes():
            yield piece
    except httpx.DecodingError as error:
        raise TransportError("unreadable", "its body is not what its content-encoding says") from error


class _Stream(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces
