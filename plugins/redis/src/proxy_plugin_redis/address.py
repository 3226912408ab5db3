"""Parse ``state.url``. No message repeats any part of it, because it may hold a password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core import SettingsError
from proxy_plugin_redis.settings import PREFIX

#: Each scheme, and whether it means TLS.
SCHEMES: Mapping[str, bool] = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}

_FORM = (
    "a Redis address has the form redis://[user:password@]host[:port][/database][?prefix=...], or rediss:// for TLS; "
    "write the characters / : @ # in a password as %2F %3A %40 %23"
)
#: The files that TLS may use. Verification cannot be turned off.
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


class Address(Struct, frozen=True, kw_only=True):
    """Where the store is and how to log in. ``files`` are the TLS files, by the client library's names for them."""

    host: str
    port: int
    database: int
    username: str | None
    password: SecretStr | None
    tls: bool
    prefix: str
    files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_address(url: str, *, prefix: str) -> Address:
    """Parse ``state.url``; ``prefix`` is used unless the URL names one.

    Raises :exc:`SettingsError`, which describes the form of an address and repeats nothing of the input.
    """
    read = _parts(url.strip())
    if read is None:
        raise SettingsError([f"state.url: {_FORM}"])
    parts, host, port, database, query = read
    tls = SCHEMES[parts.scheme]
    known = {"prefix", *_TLS} if tls else {"prefix"}
    if not query.keys() <= known:
        raise SettingsError([f"state.url: the only query parameters are {', '.join(sorted(known))}"])
    prefix = query.pop("prefix", prefix)
    if not re.match(PREFIX, prefix):
        raise SettingsError(["state.url: prefix must be 1 to 64 letters, digits or -_.:"])
    return Address(
        host=host,
        port=port,
        database=database,
        username=unquote(parts.username) if parts.username else None,
        password=SecretStr(unquote(parts.password)) if parts.password else None,
        tls=tls,
        prefix=prefix,
        files=query,
    )


def _parts(url: str) -> tuple[SplitResult, str, int, int, dict[str, str]] | None:
    """``None`` if this is not an address. The parser's own error is dropped because it would repeat part of the URL."""
    try:
        parts = urlsplit(url)
        database = int(parts.path.strip("/") or 0)
        query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        port = parts.port or 6379
    except ValueError:
        return None
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment or database < 0:
        return None
    return parts, parts.hostname, port, database, query
