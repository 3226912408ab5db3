"""The client's name for the model in place of the upstream's, in an event of a relayed stream. All other bytes stay."""

from __future__ import annotations

import re
from itertools import islice

from proxy_core import json_bytes, load_object, sse

#: A member ``model`` at any depth; inside a string, its quotes would be escaped.
_MEMBER = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")', re.S)
#: A response has one or two such members before its own.
_MOST = 32
#: Ends an event in place of the member.
_END = b'"":0}}'


def renamed(event: bytes, model: str) -> bytes:
    """``event``, which has a response, with ``model`` as the name of that response's model."""
    for found in islice(_MEMBER.finditer(event), _MOST):
        if _is_the_responses(event[: found.start()]):
            view = memoryview(event)  # it may be large
            return b"".join([view[: found.start(1)], json_bytes(model), view[found.end(1) :]])
    return event


def _is_the_responses(head: bytes) -> bool:
    """Whether a member that follows ``head`` belongs to the response. What follows the member need not be read."""
    event = sse.parse(head + _END)
    value = load_object(event.data) if event is not None else None
    response = value.get("response") if value is not None else None
    return isinstance(response, dict) and "" in response
