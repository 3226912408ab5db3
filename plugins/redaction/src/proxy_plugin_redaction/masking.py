"""Mask values in requests and restore them in responses: the upstream sees ``[EMAIL_1]``, the client its own text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import (
    CallDelta,
    ChatEvent,
    EventFilter,
    ProxyRequest,
    ReasoningDelta,
    RefusalDelta,
    Sanitizer,
    StashKey,
    TextDelta,
    repr_without,
)
from proxy_plugin_redaction.patterns import Shape
from proxy_plugin_redaction.redactor import Finder

MASKS = StashKey["Masks"]("redaction.masks")

#: Fields whose values are names, addresses or bytes of the protocol, not text that a person wrote.
_PROTOCOL = frozenset(
    """
    model role type id object name tool_call_id call_id file_id detail format media_type mime_type mimeType
    url file_url data file_data signature thoughtSignature encrypted_content stop finish_reason
    """.split()
)
Delta = TextDelta | ReasoningDelta | RefusalDelta | CallDelta


def masking(shapes: Mapping[str, Shape]) -> Sanitizer:
    """The sanitizer for these kinds. It ranks late, so that it also masks what other sanitizers add."""
    finder = Finder(shapes)

    def request(request: ProxyRequest) -> ProxyRequest:
        masks = Masks(taken=json.dumps(request.body, ensure_ascii=False))
        body = _masked(request.body, finder, masks)
        if not masks.by_mask:
            return request
        request.stash[MASKS] = masks
        return request.with_body(body)

    def events(request: ProxyRequest) -> EventFilter | None:
        masks = request.stash.get(MASKS)
        return Restorer(masks.by_mask) if masks is not None else None

    return Sanitizer(name="masking", rank=500, request=request, events=events)


class Masks(Struct):
    """One request's masks. Equal values get the same mask, so that the model can still refer to them.

    ``taken`` is the text of the request; a mask that already occurs in it is not used.
    """

    __repr__ = repr_without("taken", "by_mask", "by_value")

    taken: str
    by_mask: dict[str, str] = field(default_factory=dict)
    by_value: dict[tuple[str, str], str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def mask(self, kind: str, value: str) -> str:
        known = self.by_value.get((kind, value))
        if known is not None:
            return known
        while True:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            mask = f"[{kind.upper()}_{self.counts[kind]}]"
            if mask not in self.taken:
                break
        self.by_value[kind, value] = mask
        self.by_mask[mask] = value
        return mask


def _masked(value: Any, finder: Finder, masks: Masks) -> Any:
    if isinstance(value, str):
        return value if value.startswith("data:") else finder.replaced(value, masks.mask)
    if isinstance(value, dict):
        return {
            name: inner if name in _PROTOCOL and isinstance(inner, str) else _masked(inner, finder, masks)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner, finder, masks) for inner in value]
    return value


class Restorer:
    """Puts the values back, even if a mask is split across several events."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._longest = max(map(len, values))
        self._held: dict[tuple[type, int, int], Delta] = {}

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]:
        if not isinstance(event, TextDelta | ReasoningDelta | RefusalDelta | CallDelta):
            return [*self.close(), event]
        stream = (type(event), event.choice, event.call if isinstance(event, CallDelta) else -1)
        out = self._others(stream)
        held = self._held.pop(stream, None)
        text = _text(held) + _text(event) if held is not None else _text(event)
        ready, rest = self._split(text)
        if rest:
            self._held[stream] = _with(event, rest)
        if ready or not rest:
            out.append(_with(event, self._restored(ready, event)))
        return out

    def close(self) -> Sequence[ChatEvent]:
        """Release held text that did not become a mask after all."""
        held, self._held = self._held, {}
        return list(held.values())

    def _others(self, stream: tuple[type, int, int]) -> list[ChatEvent]:
        """Release the held text of the choice's other streams, so that the order of events is kept."""
        ended = [key for key in self._held if key[1] == stream[1] and key != stream]
        return [self._held.pop(key) for key in ended]

    def _split(self, text: str) -> tuple[str, str]:
        """The text that can be released, and a tail that may be the beginning of a mask."""
        at = text.rfind("[", max(0, len(text) - self._longest + 1))
        if at >= 0 and any(mask.startswith(text[at:]) and mask != text[at:] for mask in self._values):
            return text[:at], text[at:]
        return text, ""

    def _restored(self, text: str, event: Delta) -> str:
        if "[" not in text:
            return text
        for mask, value in self._values.items():
            if mask in text:
                # Arguments are JSON text, so the value must be escaped for a string literal.
                text = text.replace(mask, json.dumps(value)[1:-1] if isinstance(event, CallDelta) else value)
        return text


def _text(event: Delta) -> str:
    return event.arguments if isinstance(event, CallDelta) else event.text


def _with(event: Delta, text: str) -> Delta:
    return replace(event, arguments=text) if isinstance(event, CallDelta) else replace(event, text=text)
