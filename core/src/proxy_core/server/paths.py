"""Paths as clients with a base URL that is slightly wrong send them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from proxy_core.interfaces import Dialect

#: A client that takes this server for an outbound proxy sends it with each request.
_ADDRESS = re.compile(r"https?://[^/]*", re.I)
_SLASHES = re.compile(r"/{2,}")
#: Versions before another one: the client adds its own to that of the base URL.
_VERSIONS = re.compile(r"(?:/v\d+[a-z]*)+(?=/v\d+[a-z]*(?:/|$))")


def tidied(path: str) -> str:
    """The path without a server's address before it, repeated slashes, a slash at its end, and versions before the
    last one."""
    path = _ADDRESS.sub("", path, count=1) if path[:1] != "/" else path
    plain = _SLASHES.sub("/", path).rstrip("/") or "/"
    versions = _VERSIONS.match(plain)
    return plain if versions is None else plain[versions.end() :]


def advice(path: str, dialects: Iterable[Dialect]) -> str:
    """What the base URL should be, for a path that a client made from a wrong one; empty if that is not known."""
    for dialect in dialects:
        if any(path.endswith(tail) for tail in _tails(dialect)):
            end = f"followed by {dialect.base_path!r}" if dialect.base_path else "alone"
            return f" The client's base URL should be this server's address, {end}."
    return ""


def _tails(dialect: Dialect) -> Iterator[str]:
    """What a client adds to its base URL, from the last parameter on."""
    for path in (*dialect.paths, *(path for operation in dialect.operations for path in operation.paths)):
        tail = path.rpartition("}")[2] if "{" in path else path.removeprefix(dialect.base_path)
        if len(tail) > 1:
            yield tail
