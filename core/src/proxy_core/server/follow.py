"""Follows a response while it is written, for formats that keep responses, or end a stream by what it began with."""

from __future__ import annotations

import time

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.errors import ProxyError
from proxy_core.interfaces import Dialect, Keeping, KeptValue, ProxyRequest, StreamFollower
from proxy_core.jsons import SHORT, beside
from proxy_core.state.kept import KeptValues


async def follow(dialect: Dialect, request: ProxyRequest, values: KeptValues) -> tuple[ProxyRequest, Followed | None]:
    """The request, completed with the response that it continues, and what sees its own response.

    Raises ``BadRequest``, ``Unavailable``.
    """
    if dialect.follower is None:
        return request, None
    keeping = dialect.keeping
    whole = request if keeping is None else await _resumed(request, keeping, values)
    return whole, Followed(whole, dialect.follower(), keeping, values)


async def _resumed(request: ProxyRequest, keeping: Keeping, values: KeptValues) -> ProxyRequest:
    name = keeping.previous(request.body)
    if name is None:
        return request
    value = await values.kept(request.client, name)
    long = value is not None and len(value) > SHORT
    body = await beside(keeping.resume, request.body, value) if long else keeping.resume(request.body, value)
    return replace(request, body=body, continues=name)


class Followed(Struct):
    """The response to one request."""

    _request: ProxyRequest
    _stream: StreamFollower
    _keeping: Keeping | None
    _values: KeptValues
    _kept: bool = False

    async def add(self, piece: bytes) -> None:
        """Before the client has the end of the stream, its next request may already continue it: so keep it first."""
        self._stream.add(piece)
        if not self._kept and self._keeping is not None and self._stream.whole is not None:
            self._kept = True
            await self.keep(self._stream.whole)

    async def keep(self, response: bytes) -> None:
        keeping, request = self._keeping, self._request
        if keeping is None:
            return
        long = len(response) > SHORT or request.continues is not None
        found = await beside(keeping.value, request.body, response) if long else keeping.value(request.body, response)
        if found is not None:
            name, value = found
            expires_at = time.time() + keeping.lives_s
            limits = {"most": keeping.most, "most_bytes": keeping.most_bytes}
            kept = KeptValue(owner=request.client, name=name, value=value, expires_at=expires_at, **limits)
            await self._values.keep(kept)

    # As the dialect itself has them, for a stream of which nothing is known.

    @property
    def heartbeat(self) -> bytes:
        return self._stream.heartbeat()

    def stream_error(self, error: ProxyError, request_id: str) -> bytes:
        return self._stream.error(error, request_id)
