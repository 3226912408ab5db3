"""The client's name for the model in place of the upstream's, in an event of a relayed stream. All other bytes stay."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import msgspec

from proxy_core import json_bytes, sse

#: A member ``model`` at any depth; inside a string, its quotes would be escaped.
_MEMBER = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")', re.S)
#: A response has one or two such members before its own.
_MOST = 32


class _Named(msgspec.Struct):
    model: Any = None


class _Event(msgspec.Struct):
    response: _Named


_decode = msgspec.json.Decoder(_Event).decode


def renamed(event: bytes, model: str) -> bytes:
    """The member is found by trying: a number in its place must be what a parser reads as the response's model."""
    for found in islice(_MEMBER.finditer(event), _MOST):
        before, after = event[: found.start(1)], event[found.end(1) :]
        try:
            own = _model(before + b"0" + after) == 0
        except (msgspec.DecodeError, UnicodeDecodeError):
            return event
        if own:
            return before + json_bytes(model) + after
    return event


def _model(raw: bytes) -> object:
    event = sse.parse(raw)
    return _decode(event.data).response.model if event is not None else None
