"""The HTTP client for refreshers and logins: one request, its complete response, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from proxy_core.interfaces import HttpResponse, TransportFailed
from proxy_core.messages import UpstreamRequest
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.routes import Route
from proxy_core.network.upstream import Upstream
from proxy_core.version import USER_AGENT

#: No token response and no list of models is larger.
_MAX_RESPONSE = 4 * 1024 * 1024


class UpstreamHttpClient:
    """An :class:`~proxy_core.interfaces.HttpClient` over connections that its creator opens and closes."""

    def __init__(self, upstream: Upstream, provider: str = "", max_bytes: int = _MAX_RESPONSE) -> None:
        """``provider``: whose network settings apply."""
        self._upstream = upstream
        self._provider = provider
        self._max_bytes = max_bytes

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
        try:
            # A refresh token that is sent twice may cost the login.
            exchange = self._upstream.exchange(request, provider=self._provider, resend=False)
            async with asyncio.timeout(timeout_s), exchange as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, headers, await response.read(self._max_bytes))
        except TimeoutError:
            raise TransportFailed("no response in time", sent=True) from None
        except ResponseTooLarge:
            raise TransportFailed("the response is too large", sent=True) from None
        except TransportError as error:
            raise TransportFailed(error.cause or "no response", sent=error.fault != "connect") from error


@asynccontextmanager
async def open_exchange(
    *,
    user_agent: str = USER_AGENT,
    connect_s: float = 10.0,
    routes: Mapping[str, Route] | None = None,
    provider: str = "",
) -> AsyncIterator[UpstreamHttpClient]:
    """A client with connections of its own, for a command that runs without a proxy."""
    async with Upstream(
        user_agent=user_agent, max_connections=20, connect_s=connect_s, pool_s=5.0, routes=routes
    ) as upstream:
        yield UpstreamHttpClient(upstream, provider)
