"""Responses in the client's own dialect, streamed and plain: bytes pass unchanged, usage is read on the side. Pure."""

from __future__ import annotations

import json
from contextlib import suppress

from proxy_core import sse
from proxy_core.dialects.common import first_of_list, load_object, no_response
from proxy_core.errors import StreamCut
from proxy_core.interfaces import Dialect, UsageTap
from proxy_core.messages import JsonObject, UpstreamFailure, Usage

#: A larger plain response is only scanned for its usage: parsing megabytes would delay every stream.
_PARSE_LIMIT = 1024 * 1024


class RelayedStream:
    """An event stream in the client's own dialect. Complete events pass unchanged."""

    __slots__ = ("_splitter", "_tap", "committed", "ended", "failure")

    def __init__(self, tap: UsageTap, max_event_bytes: int) -> None:
        self._tap = tap
        self._splitter = sse.EventSplitter(max_event_bytes)
        self.failure: UpstreamFailure | None = None
        self.committed = self.ended = False

    @property
    def usage(self) -> Usage | None:
        return self._tap.usage  # a format may report it in every event, and read it only here

    def feed(self, data: bytes) -> bytes:
        block = self._splitter.feed(data)
        return self._pass(block) if block else b""

    def close(self) -> bytes:
        if self.ended:
            return b""
        rest = self._splitter.close()
        whole = not rest.strip() or _whole(rest)
        out = self._pass(rest) if rest and whole else b""
        if self.failure is not None:
            return out
        if not whole or not self._tap.complete:
            raise StreamCut("The upstream's response ended before it was complete.")
        end = self._tap.close()
        # The last event may lack its blank line; what is appended must not run into it.
        return out + b"\n\n" + end if out and end else out + end

    def _pass(self, block: bytes) -> bytes:
        tap = self._tap
        out = tap.feed(block)
        self.failure, self.committed, self.ended = tap.failure, tap.committed, tap.ended
        return out


def _whole(rest: bytes) -> bool:
    event = sse.parse(rest)
    return event is None or event.data.startswith(b"[DONE]") or load_object(event.data) is not None


class RelayedWhole:
    """A plain response in the client's own dialect: bytes unchanged, usage read on the side."""

    def __init__(self, dialect: Dialect, provider: str, request_body: JsonObject) -> None:
        self._dialect = dialect
        self._provider = provider
        self._request_body = request_body
        self._parts: list[bytes] = []
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None
        self.committed = self.ended = False

    def feed(self, data: bytes) -> bytes:
        self._parts.append(data)
        return b""

    def close(self) -> bytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        scan = len(data) > _PARSE_LIMIT
        value = _scanned(data, self._dialect.usage_key) if scan else load_object(data)
        found = first_of_list(data) if value is None else value
        if found is not None and not scan:
            self.failure = self._dialect.whole_failure(self._provider, found)
        if self.failure is not None:
            return b""
        if value is None:
            raise no_response(data, "JSON object")
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
    found: JsonObject = {}
    if colon:
        with suppress(ValueError, RecursionError):  # usage is then unknown, as in a response without it
            found[key], _ = json.JSONDecoder().raw_decode(rest.decode("utf-8", "replace").lstrip())
    return found
