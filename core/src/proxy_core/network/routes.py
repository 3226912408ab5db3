"""How connections to a provider are made: directly, through a proxy, over a Unix socket; with which certificates."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from proxy_core.messages import repr_without


class Route(Struct, frozen=True, kw_only=True):
    """The network settings of one provider. ``proxy_http`` applies to ``http`` addresses, ``proxy_https`` to ``https``;
    neither to a host in ``no_proxy``. ``tls`` replaces the process's context."""

    __repr__ = repr_without("proxy_http", "proxy_https", "query")

    proxy_http: str | None = None
    proxy_https: str | None = None
    no_proxy: Sequence[str] = ()
    tls: ssl.SSLContext | None = None
    unix_socket: Path | None = None
    #: Added to every URL, in its encoded form.
    query: str = ""

    def proxy_for(self, url: str) -> str | None:
        """The proxy for this address, if any."""
        if self.proxy_http is None and self.proxy_https is None:
            return None
        parts = urlsplit(url)
        proxy = self.proxy_https if parts.scheme == "https" else self.proxy_http
        return None if proxy is None or bypassed(parts.hostname or "", parts.port, self.no_proxy) else proxy


DIRECT = Route()


#: Receives the address of a connection; raises ``OSError`` if no connection may be made to it.
AddressCheck = Callable[[str], None]


def bypassed(host: str, port: int | None, exceptions: Sequence[str]) -> bool:
    """Whether ``exceptions``, in the form of ``NO_PROXY``, name this host: ``*``, a domain with everything below it,
    an address, a network (``10.0.0.0/8``), each but the first with or without a port."""
    host = host.lower().rstrip(".")
    return any(_covers(entry.strip().lower(), host, port) for entry in exceptions if entry.strip())


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # a name, or an address with a port
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit():
        return port == int(number) and _covers(name, host, port)
    domain = entry.removeprefix("*").strip(".")
    return host == domain or host.endswith(f".{domain}")
