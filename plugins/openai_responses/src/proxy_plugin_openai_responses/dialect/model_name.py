"""The client's name for the model in place of the upstream's, in a relayed response. All other bytes stay."""

from __future__ import annotations

import re
from collections.abc import Callable
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


_response = msgspec.json.Decoder(_Named).decode
_event = msgspec.json.Decoder(_Event).decode


def in_response(data: bytes, model: str) -> bytes:
    """A whole response with ``model`` as its model's name."""
    return _replaced(data, model, lambda data: _response(data).model)


def in_event(raw: bytes, model: str) -> bytes:
    """The same for an event that contains a response."""
    return _replaced(raw, model, _model_of_event)


def _model_of_event(raw: bytes) -> object:
    event = sse.parse(raw)
    return _event(event.data).response.model if event is not None else None


def _replaced(data: bytes, model: str, read: Callable[[bytes], object]) -> bytes:
    """The member is found by trying: a number in its place must be what a parser reads as the response's model."""
    for found in islice(_MEMBER.finditer(data), _MOST):
        before, after = data[: found.start(1)], data[found.end(1) :]
        try:
            own = read(before + b"0" + after) == 0
        except (msgspec.DecodeError, UnicodeDecodeError):
            return data
        if own:
            return before + json_bytes(model) + after
    return data
