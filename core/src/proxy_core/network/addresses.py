"""Which addresses the guarded fetcher may connect to, and the only way of writing them that it accepts.

A host is refused if it is written in any way that another program could read differently: libraries map other
characters to dots and digits (IDNA), and short, octal or hexadecimal forms to addresses. What remains is what the
connection is opened to, letter by letter.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit, urlunsplit

_WELL_KNOWN_PORTS = frozenset({80, 443})
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
#: Programs take a name whose last part is a number for an address. https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
#: The only IPv6 block with public addresses; and networks in it, and in IPv4, that Python considers public.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("3fff::/20", "192.0.0.0/24", "192.88.99.0/24")))
#: Translators carry an IPv4 address inside an IPv6 one.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """The address may not be fetched. An ``OSError``, as what opens connections expects no other errors."""


def canonical(url: str, *, public: bool) -> str:
    """The same address with nothing left to interpret in its host. Raises ``Refused``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("its address is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("only http and https addresses are accepted")
    if "@" in parts.netloc:
        raise Refused("its address contains a user name or password")
    if port is not None and port < 1024 and port not in _WELL_KNOWN_PORTS:
        raise Refused("its port is reserved for other services")
    host = _host(parts.hostname, public=public)
    netloc = host if port is None else f"{host}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def check_public(text: str) -> None:
    """``text`` is an address, as sockets report it. Raises ``Refused`` unless it is public."""
    if not _is_public(ipaddress.ip_address(text.partition("%")[0])):
        raise Refused("its address is not public")


def _host(host: str, *, public: bool) -> str:
    if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return _literal(host, public=public)
    try:
        # Strict: what is not written exactly as it is registered is refused, not mapped.
        labels = [label if _plain(label) else _encoded(label) for label in host.removesuffix(".").split(".")]
    except UnicodeError:
        raise Refused("the name of its host is not valid") from None
    name = ".".join(labels)
    if not _HOST.fullmatch(name):
        raise Refused("the name of its host is not valid")
    return name


def _encoded(label: str) -> str:
    import idna  # its tables are large, and such names are rare

    return idna.alabel(label).decode()


def _plain(label: str) -> bool:
    return label.isascii() and not label.startswith("xn--")


def _literal(host: str, *, public: bool) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise Refused("its address is not valid") from None
    if public and not _is_public(address):
        raise Refused("its address is not public")
    return f"[{address.compressed}]" if address.version == 6 else address.compressed


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    reserved = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not (address.is_multicast or address.is_reserved or reserved)
