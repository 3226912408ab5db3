"""The guarded fetcher: the only way to an address that a client chose, used only for providers that need it.

Only public addresses are allowed. The check is made on the address that the connection is opened to, so
a name cannot resolve to a different one afterwards, and it is repeated after every redirect. Size, type
and time are limited. The request carries nothing of the proxy's but its User-Agent.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urljoin

from msgspec.structs import replace

from proxy_core.errors import BadRequest
from proxy_core.interfaces import FetchLimits
from proxy_core.messages import (
    Audio,
    ChatRequest,
    File,
    Image,
    InlineData,
    Link,
    Part,
    ToolResult,
    UpstreamRequest,
)
from proxy_core.network.addresses import Refused, canonical, check_public
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.upstream import Upstream

_REDIRECTS = 3
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


class GuardedFetcher:
    """Fetches documents from public addresses. An async context manager; opens nothing before its first use."""

    def __init__(self, *, user_agent: str, reach: Literal["nowhere", "public", "anywhere"]) -> None:
        self._reach = reach
        guard = None if reach == "anywhere" else check_public
        self._upstream = Upstream(user_agent=user_agent, max_connections=16, connect_s=10, pool_s=10, guard=guard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstream.__aexit__(kind, error, trace)

    async def inline(self, chat: ChatRequest, limits: FetchLimits) -> ChatRequest:
        """The same request with every linked document inlined. Raises ``BadRequest``."""
        messages = [replace(m, parts=await self._parts(m.parts, limits)) for m in chat.messages]
        return replace(chat, messages=messages)

    async def _parts(self, parts: Sequence[Part], limits: FetchLimits) -> list[Part]:
        return [await self._part(part, limits) for part in parts]

    async def _part(self, part: Part, limits: FetchLimits) -> Part:
        if isinstance(part, ToolResult):
            return replace(part, parts=await self._parts(part.parts, limits))
        if isinstance(part, Image | Audio | File) and isinstance(part.source, Link):
            return replace(part, source=await self.fetch(part.source.url, limits))
        return part

    async def fetch(self, url: str, limits: FetchLimits) -> InlineData:
        """Fetch one document. Raises ``BadRequest`` naming the problem with the link, never the content behind it."""
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._follow(url, limits)
        except Refused as refused:
            raise BadRequest(f"A linked document cannot be fetched: {refused}.", code="link_refused") from None
        except TimeoutError:
            problem = "it took too long"
        except TransportError as error:
            problem = _refusal(error) or "its host cannot be reached"
        except ResponseTooLarge:
            problem = f"it is larger than {limits.max_bytes} bytes"
        raise BadRequest(f"A linked document cannot be fetched: {problem}.", code="link_refused")

    async def _follow(self, url: str, limits: FetchLimits) -> InlineData:
        for _ in range(_REDIRECTS + 1):
            if self._reach == "nowhere":
                raise Refused("this proxy fetches no links; send the document itself")
            url = canonical(url, public=self._reach == "public")
            async with self._upstream.exchange(UpstreamRequest(method="GET", url=url, headers=[])) as response:
                if response.status in _REDIRECT_STATUSES:
                    url = _redirected(url, response.headers.get("location", ""))
                    continue
                if response.status != 200:
                    raise Refused(f"its host responded with {response.status}")
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                if not kind.startswith(tuple(limits.types)):
                    raise Refused("it is of a type that is not accepted")
                data = await response.read(limits.max_bytes)
            return InlineData(media_type=kind, data=base64.b64encode(data).decode())
        raise Refused("it was redirected too many times")


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        raise Refused("it was redirected to an address that is not valid") from None
    if url.startswith("https:") and not target.startswith("https:"):
        raise Refused("it was redirected from https to something else")
    return target


def _refusal(error: BaseException | None) -> str | None:
    """What the guard of the connection said, below the errors that libraries made of it."""
    while error is not None and not isinstance(error, Refused):
        error = error.__cause__ or error.__context__
    return str(error) if error is not None else None
