"""The guarded fetcher: the only way to an address that a client chose, used only for providers that need it.

Only public addresses are allowed. The check is made where the connection is opened, so a name
cannot resolve to a different address afterwards, and it is repeated after every redirect. Size,
type and time are limited. The request carries nothing of the proxy's but its User-Agent.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urljoin, urlsplit

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
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.upstream import Upstream

_REDIRECTS = 3
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_WELL_KNOWN_PORTS = frozenset({80, 443})
#: Address families that carry an IPv4 address inside an IPv6 one.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """The address may not be fetched."""


class GuardedFetcher:
    """Fetches documents from public addresses. An async context manager; opens nothing before its first use."""

    def __init__(self, *, user_agent: str, reach: Literal["nowhere", "public", "anywhere"]) -> None:
        self._reach = reach
        allow_private = reach == "anywhere"
        self._upstream = Upstream(
            user_agent=user_agent, max_connections=16, connect_s=10, pool_s=10, resolver=_Resolver(allow_private)
        )

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
            inner = error.__cause__
            while inner is not None and not isinstance(inner, Refused):
                inner = inner.__cause__ or inner.__context__
            problem = str(inner) if inner is not None else "its host cannot be reached"
        except ResponseTooLarge:
            problem = f"it is larger than {limits.max_bytes} bytes"
        raise BadRequest(f"A linked document cannot be fetched: {problem}.", code="link_refused")

    async def _follow(self, url: str, limits: FetchLimits) -> InlineData:
        for _ in range(_REDIRECTS + 1):
            self._check(url)
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

    def _check(self, url: str) -> None:
        if self._reach == "nowhere":
            raise Refused("this proxy fetches no links; send the document itself")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Refused("its address is not valid") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused("only http and https addresses are accepted")
        if parts.username or parts.password:
            raise Refused("its address contains a user name or password")
        if port is not None and port < 1024 and port not in _WELL_KNOWN_PORTS:
            raise Refused("its port is reserved for other services")
        if self._reach == "public":
            _check_literal(parts.hostname)


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if url.startswith("https:") and not target.startswith("https:"):
        raise Refused("it was redirected from https to something else")
    return target


def _check_literal(host: str) -> None:
    """Check a literal address, which never reaches the resolver."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # The connector, too, takes digits and dots for an address: 127.1, 2130706433.
        if host.replace(".", "").isdigit():
            raise Refused("its address is not valid") from None
        return
    _check_public(address)


def _check_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            _check_public(inner)
            return
    if not address.is_global or address.is_multicast or address.is_reserved:
        raise Refused("its address is not public")


class _Resolver:
    """Resolves names to public addresses; the connection is made to exactly what it returns."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[dict[str, Any]]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        addresses = []
        for kind, _, protocol, _, target in found:
            text = str(target[0])
            if not self._allow_private:
                _check_public(ipaddress.ip_address(text.partition("%")[0]))
            addresses.append(
                {
                    "hostname": host,
                    "host": text,
                    "port": port,
                    "family": kind,
                    "proto": protocol,
                    "flags": socket.AI_NUMERICHOST,
                }
            )
        return addresses

    async def close(self) -> None:
        """There is nothing to release."""
