"""A reply that is no longer replaced: the upstream's first event has arrived, or the whole of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack

from proxy_core.errors import ProxyError
from proxy_core.interfaces import Deployment
from proxy_core.messages import UpstreamFailure, Usage
from proxy_core.network.upstream import TransportError
from proxy_core.pipeline.response_body import ResponseBody


class Reply:
    """``read`` gives the client's bytes, piece by piece; leaving the block closes the upstream."""

    def __init__(
        self,
        body: ResponseBody,
        first: bytes,
        pieces: AsyncGenerator[bytes, None] | None,
        deployment: Deployment,
        explain: Callable[[UpstreamFailure], ProxyError],
    ) -> None:
        self._body = body
        self._first = first
        self._pieces = pieces
        self._explain = explain
        self._resources = AsyncExitStack()
        self.deployment = deployment
        self.credential = ""

    @property
    def whole(self) -> bytes:
        """The body of a reply that was read to its end before it was committed."""
        return self._first

    @property
    def usage(self) -> Usage | None:
        return self._body.usage

    def own(self, resources: AsyncExitStack, credential: str) -> None:
        self._resources = resources
        self.credential = credential

    async def read(self) -> bytes | None:
        """The next bytes for the client; ``None`` at a complete end. Raises ``ProxyError`` for any other end."""
        if self._first:
            first, self._first = self._first, b""
            return first
        while self._body.failure is None:
            if self._pieces is None:
                return None
            out = await self._next(self._pieces)
            if out:
                return out
        raise self._explain(self._body.failure)

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        try:
            data = await anext(pieces)
        except StopAsyncIteration:
            self._pieces = None
            return self._body.close()
        except TransportError as error:
            failure = UpstreamFailure(provider=self.deployment.provider.name, transport=error.fault)
            raise self._explain(failure) from error
        return self._body.feed(data)

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._pieces is not None:
            await self._pieces.aclose()
        await self._resources.aclose()
