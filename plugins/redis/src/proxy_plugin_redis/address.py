"""``state.url``, read without ever repeating what it holds: it may hold a password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import SecretStr

from proxy_core import SettingsError
from proxy_plugin_redis.settings import PREFIX

#: Scheme to whether it means TLS.
SCHEMES: Mapping[str, bool] = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}

_FORM = (
    "a Redis address is redis://[user:password@]host[:port][/database][?prefix=...], rediss:// with TLS; "
    "characters like / : @ # in a password are written %2F %3A %40 %23"
)
#: Files of TLS. Verification itself cannot be switched off.
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the store is and how to be let in. ``files`` are those of TLS, by the client library's names."""

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
    """Take ``state.url`` apart; ``prefix`` counts unless the URL names one.

    Raises :exc:`SettingsError`, which says how an address looks and nothing of what it was given.
    """
    read = _parts(url.strip())
    if read is None:
        raise SettingsError([f"state.url: {_FORM}"])
    parts, host, port, database, query = read
    tls = SCHEMES[parts.scheme]
    known = {"prefix", *_TLS} if tls else {"prefix"}
    if not query.keys() <= known:
        raise SettingsError([f"state.url: after the question mark it takes only {', '.join(sorted(known))}"])
    prefix = query.pop("prefix", prefix)
    if not re.match(PREFIX, prefix):
        raise SettingsError(["state.url: prefix is at most 64 letters, digits and -_.:"])
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
    """``None`` for what is no address; the parser's own words would repeat a piece of it."""
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
