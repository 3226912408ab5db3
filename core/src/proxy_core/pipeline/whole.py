"""A plain response in the client's own dialect: bytes unchanged, usage read on the side."""

from __future__ import annotations

import json
from contextlib import suppress

from proxy_core.dialects.common import load_object
from proxy_core.errors import UpstreamBroken
from proxy_core.interfaces import Dialect
from proxy_core.messages import JsonObject, UpstreamFailure, Usage

#: A larger plain response is only scanned for its usage: parsing megabytes would delay every stream.
_PARSE_LIMIT = 1024 * 1024


class RelayedWhole:
    """A plain response in the client's own dialect: bytes unchanged, usage read on the side."""

    def __init__(self, dialect: Dialect, provider: str, request_body: JsonObject) -> None:
        self._dialect = dialect
        self._provider = provider
        self._request_body = request_body
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = False

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        value = load_object(data) if len(data) <= _PARSE_LIMIT else _scanned(data, self._dialect.usage_key)
        if value is None:
            raise UpstreamBroken("The upstream's response is not a JSON object.")
        self.failure = self._dialect.whole_failure(self._provider, value)
        if self.failure is not None:
            return b""
        self.committed = True
        self.usage = self._dialect.whole_usage(value)
        finish = self._dialect.finish_whole
        return finish(data, self._request_body) if finish is not None else data


def _scanned(data: bytes, key: str) -> JsonObject | None:
    """The usage of a large response, found without parsing the rest; ``None`` if it cannot be an object."""
    if not (data.lstrip().startswith(b"{") and data.rstrip().endswith(b"}")):
        return None
    at = data.rfind(f'"{key}"'.encode())
    _, colon, rest = data[at : at + 4096].partition(b":") if at >= 0 else (b"", b"", b"")
    found: JsonObject = {"data": True, "candidates": []}
    if colon:
        with suppress(ValueError):  # usage is then unknown, as in a response without it
            found[key], _ = json.JSONDecoder().raw_decode(rest.decode("utf-8", "replace").lstrip())
    return found
