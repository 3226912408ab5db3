"""Ids of calls, unique in their conversation. Some upstreams begin with ``call_0`` in every response, and clients take
a call with an id that they know for one that has its result. Pure.
"""

from __future__ import annotations

from hashlib import sha256

from msgspec.structs import replace

from proxy_core.dialects.common import plain_id
from proxy_core.messages import CallStart, ChatRequest, ToolCall


class CallIds:
    """The ids of one response, by what its request says. Without a request, they stay as they are."""

    def __init__(self, request: ChatRequest | None) -> None:
        self._request = request
        self._taken: set[str] | None = None

    def unique(self, call: CallStart) -> CallStart:
        """The call with its own id, if that is new; otherwise with one that is the same each time."""
        if self._request is None:
            return call
        if self._taken is None:
            self._taken = _ids(self._request)
        new, number = call.id, len(self._taken)
        while plain_id(new) in self._taken:
            digest = sha256(f"{call.id}\0{number}".encode("utf-8", "surrogatepass")).hexdigest()
            new, number = f"call_{digest[:24]}", number + 1
        self._taken.add(plain_id(new))
        return call if new == call.id else replace(call, id=new)


def _ids(request: ChatRequest) -> set[str]:
    """In plain form, because a client may have received them so."""
    return {plain_id(part.id) for message in request.messages for part in message.parts if isinstance(part, ToolCall)}
