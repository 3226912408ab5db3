"""Paths as clients with a base URL that is slightly wrong send them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from inspect import unwrap
from operator import itemgetter

from starlette.routing import compile_path

from proxy_core.interfaces import Dialect

#: A client that takes this server for an outbound proxy sends it with each request.
_ADDRESS = re.compile(r"https?://[^/]*", re.I)
_SLASHES = re.compile(r"/{2,}")
#: What comes before a version: that of the base URL, where the client adds its own; and the folder in which some hosts
#: have these paths, whose clients add it to any base URL.
_BEFORE = re.compile(r"(?:/v\d+[a-z]*|/openai)+(?=/v\d+[a-z]*(?:/|$))")


def tidied(path: str) -> str:
    """The path without a server's address before it, repeated slashes, a slash at its end, and what comes before the
    last version."""
    path = _ADDRESS.sub("", path, count=1) if path[:1] != "/" else path
    plain = _SLASHES.sub("/", path).rstrip("/") or "/"
    before = _BEFORE.match(plain)
    return plain if before is None else plain[before.end() :]


def advice(path: str, dialects: Iterable[Dialect]) -> str:
    """What the base URL should be, for a path that a client made from a wrong one; empty if that is not known."""
    for dialect in dialects:
        if any(path.endswith(tail) for tail in _tails(dialect)):
            end = f"followed by {dialect.base_path!r}" if dialect.base_path else "alone"
            return f" The client's base URL should be this server's address, {end}."
    return ""


def owner(path: str, dialects: Sequence[Dialect]) -> Dialect | None:
    """The dialect that has this path with another method, or one above it; or else the dialects with paths that begin
    so, if their errors are the same. ``None`` for a path that belongs to several, or to none."""
    paths = [(own, dialect) for dialect in dialects for own in _own_paths(dialect, _shared(dialects))]
    exact = [dialect for own, dialect in paths if compile_path(own)[0].match(path)]
    above = [(len(own), dialect) for own, dialect in paths if path.startswith(f"{own}/")]
    if exact or above:
        return exact[0] if exact else max(above, key=itemgetter(0))[1]
    alike = {unwrap(dialect.encode_error): dialect for own, dialect in paths if _first(own) == _first(path)}
    return next(iter(alike.values())) if len(alike) == 1 else None


def _shared(dialects: Iterable[Dialect]) -> set[str]:
    operations = [operation for dialect in dialects for operation in dialect.operations]
    return {path for operation in operations if operation.shared or operation.public for path in operation.paths}


def _own_paths(dialect: Dialect, shared: Collection[str]) -> Iterator[str]:
    yield from dialect.paths
    for operation in dialect.operations:
        yield from (path for path in operation.paths if path not in shared)


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def _tails(dialect: Dialect) -> Iterator[str]:
    """What a client adds to its base URL, from the last parameter on."""
    for path in (*dialect.paths, *(path for operation in dialect.operations for path in operation.paths)):
        tail = path.rpartition("}")[2] if "{" in path else path.removeprefix(dialect.base_path)
        if len(tail) > 1:
            yield tail
