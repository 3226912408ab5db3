"""Which requests are refused whatever they ask for, and the headers of every response. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}

#: No inline code or style, nothing from elsewhere, in no frame, and nothing that a browser or a proxy keeps.
HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}


def is_own_host(host: str, allowed: Iterable[str]) -> bool:
    """Whether ``Host`` is a name of this proxy.

    A page of another site can have its own name resolve to this machine (DNS rebinding), and would then be of the same
    origin. With an address instead of a name, or ``localhost``, that is impossible.
    """
    name = host_name(host)
    return (
        is_address(name) or name == "localhost" or name.endswith(".localhost") or name in {n.lower() for n in allowed}
    )


def host_name(host: str) -> str:
    """Without a port, in lower case; empty if it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether the browser that sent this ``Host`` is on this machine (or comes through a tunnel that ends here)."""
    name = host_name(host)
    return ip_address(name).is_loopback if is_address(name) else name == "localhost" or name.endswith(".localhost")


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something comes from a page of this proxy, as far as the browser says."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def came_by_tls(headers: Mapping[str, str]) -> bool:
    """As the browser says, since a reverse proxy may end TLS."""
    return headers.get("origin", "").startswith("https://")
