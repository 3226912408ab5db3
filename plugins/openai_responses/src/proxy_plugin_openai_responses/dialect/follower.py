"""Follows a stream while it is written: what repeats or ends it has its id and its numbers."""

from __future__ import annotations

import re

from proxy_core import JsonObject, ProxyError, sse
from proxy_core.dialects.common import json_bytes, load_object
from proxy_plugin_openai_responses.dialect.errors import failed_error, stream_error

HEARTBEAT = sse.comment("keep-alive")
#: Agents count events, not comments: with the usual pause of 15 s, they see one each minute.
_BEATS = 4
_NUMBER = re.compile(rb'"sequence_number":\s*(\d{1,15})')
_END = re.compile(rb"response\.(?:completed|incomplete)")


class ResponsesFollower:
    """Keeps the first piece and the last, and reads them only if it must."""

    def __init__(self) -> None:
        self.whole: bytes | None = None
        self._first = b""
        self._last = b""
        self._beats = 0

    def add(self, piece: bytes) -> None:
        self._first = self._first or piece
        self._last = piece
        self._beats = 0
        if _END.search(piece) is not None:
            response = _response_in(piece, "response.completed", "response.incomplete")
            self.whole = self.whole if response is None else json_bytes(response)

    def heartbeat(self) -> bytes:
        """A comment, or the state of the response once more."""
        self._beats += 1
        if self._beats % _BEATS:
            return HEARTBEAT
        return next((raw for raw in sse.split(self._first) if _kind(raw) == "response.in_progress"), HEARTBEAT)

    def error(self, error: ProxyError, request_id: str) -> bytes:
        """A failed response, if one has begun."""
        response, numbers = _response_in(self._first, "response.created"), _NUMBER.findall(self._last)
        if response is None or not numbers:
            return stream_error(error, request_id)
        failed = {**response, "status": "failed", "error": failed_error(error)}
        event = {"type": "response.failed", "sequence_number": int(numbers[-1]) + 1, "response": failed}
        return sse.encode(json_bytes(event), "response.failed")


def _response_in(block: bytes, *kinds: str) -> JsonObject | None:
    """The response in an event of one of these kinds."""
    for event in sse.events(block):
        found = load_object(event.data) if _END.search(event.data) or b"response.created" in event.data else None
        if found is not None and found.get("type") in kinds and isinstance(found.get("response"), dict):
            return dict(found["response"])
    return None


def _kind(raw: bytes) -> object:
    event = sse.parse(raw)
    return (load_object(event.data) or {}).get("type") if event is not None else None
