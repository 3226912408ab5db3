"""Connections through a SOCKS proxy, which resolves the names of hosts. Needs the extra ``proxy-core[socks]``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Self

from aiohttp.client_proto import ResponseHandler
from aiohttp_socks import ProxyConnector


class SocksConnector(ProxyConnector):
    """The library's connector, with the core's own reader of responses."""

    _reader: Callable[..., ResponseHandler]

    @classmethod
    def through(cls, proxy: str, reader: Callable[..., ResponseHandler], **options: Any) -> Self:
        made = cls.from_url(proxy.replace("socks5h://", "socks5://", 1), rdns=True, **options)
        assert isinstance(made, cls)
        made._reader = reader
        return made

    async def _connect_via_proxy(
        self,
        host: str,
        port: int,
        ssl: SSLContext | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        transport, theirs = await super()._connect_via_proxy(host, port, ssl, timeout)
        ours = self._reader(loop=asyncio.get_running_loop())
        ours.socks_stream = theirs  # type: ignore[attr-defined]  # collected, it would close the connection
        transport.set_protocol(ours)
        ours.connection_made(transport)
        return transport, ours
