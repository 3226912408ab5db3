"""A committed response.

The attempt reads up to the commit point; the endpoint reads the rest and writes it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from proxy_core.errors import ProxyError
from proxy_core.messages import UpstreamFailure, Usage
from proxy_core.network.errors import TransportError
from proxy_core.network.upstream import drain


class ResponseBody(Protocol):
    """Converts a response while it arrives: takes the upstream's bytes, returns the client's."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def failure(self) -> UpstreamFailure | None: ...
    @property
    def committed(self) -> bool:
        """Whether the first content of the upstream has arrived."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the end marker has arrived; what follows it is not read."""
        ...

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes:
        """The upstream's bytes have ended. Raises ``UpstreamBroken``, ``StreamCut``."""
        ...


class Origin(Protocol):
    """The attempt that produced a response."""

    provider: str

    def clean(self, out: bytes) -> bytes: ...
    def error_of(self, failure: UpstreamFailure) -> ProxyError: ...
    async def aclose(self) -> None: ...


class Response:
    """A committed response. ``read`` returns the client's bytes in pieces; leaving the block closes the attempt."""

    __slots__ = ("_attempt", "_body", "_ended", "_first", "_pieces")

    def __init__(
        self, body: ResponseBody, first: bytes, pieces: AsyncGenerator[bytes, None] | None, attempt: Origin
    ) -> None:
        self._body = body
        self._first = first
        self._pieces = pieces
        self._ended = False
        self._attempt = attempt

    @property
    def whole(self) -> bytes:
        """The body of a response that was read to its end before it was committed."""
        return self._first

    @property
    def usage(self) -> Usage | None:
        return self._body.usage

    async def read(self) -> bytes | None:
        """The next bytes for the client; ``None`` at a proper end. Raises ``ProxyError`` if the response fails."""
        if self._first:
            first, self._first = self._first, b""
            return first
        body = self._body
        while body.failure is None:
            if self._pieces is None or self._ended:
                return None
            try:
                data = await anext(self._pieces) if not body.ended else None
            except StopAsyncIteration:
                data = None
            except TransportError as error:
                failure = UpstreamFailure(provider=self._attempt.provider, transport=error.fault, cause=error.cause)
                raise self._attempt.error_of(failure) from error
            if data is None:
                self._ended, out = True, self._attempt.clean(body.close())
            else:
                out = self._attempt.clean(body.feed(data))
            if out:
                return out
        raise self._attempt.error_of(body.failure)

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        try:
            if self._pieces is not None:
                if self._ended:
                    await drain(self._pieces)
                await self._pieces.aclose()
        finally:
            await self._attempt.aclose()
