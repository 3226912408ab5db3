"""Runs sanitizers over requests and response events. Fails closed: nothing passes unsanitized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from proxy_core.interfaces import EventFilter, ProxyRequest, Sanitizer
from proxy_core.messages import ChatEvent, JsonObject
from proxy_core.pipeline.guard import GUARDED_FIELDS


class Sanitizers:
    """The chain of sanitizers, in order. An empty chain costs nothing."""

    def __init__(self, chain: Sequence[Sanitizer]) -> None:
        self._requests = [(s.name, s.request) for s in chain if s.request is not None]
        self._events = [(s.name, s.events) for s in reversed(chain) if s.events is not None]

    def request(self, request: ProxyRequest, changed_by: list[str]) -> ProxyRequest:
        """Raises a sanitizer's own ``ProxyError``, or ``PluginFailed`` if the sanitizer fails.

        The names of those that changed something are added to ``changed_by``. The result says which fields they
        removed.
        """
        given = request
        for name, sanitize in self._requests:
            before = request
            request = sanitize(request)
            if request is not before:
                changed_by.append(name)
        return request if request is given else replace(request, left_out=left_out(given.body, request.body))

    def filters(self, request: ProxyRequest, changed_by: list[str]) -> FilterChain | None:
        """Filters for this request's response; ``None`` if no sanitizer needs one. Their names go to ``changed_by``."""
        if not self._events:
            return None
        chain = []
        for name, events in self._events:
            filter_ = events(request)
            if filter_ is not None:
                chain.append(filter_)
                changed_by.append(f"{name} (response)")
        return FilterChain(chain) if chain else None


class FilterChain:
    """Event filters in sequence."""

    def __init__(self, filters: Sequence[EventFilter]) -> None:
        self._filters = filters

    def feed(self, events: Iterable[ChatEvent]) -> list[ChatEvent]:
        """Raises ``PluginFailed`` if a filter fails; text that it held back is not released."""
        current = list(events)
        for filter_ in self._filters:
            current = [out for event in current for out in filter_.feed(event)]
        return current

    def close(self) -> list[ChatEvent]:
        """The events that filters held back, each passed through the filters after its own."""
        held: list[ChatEvent] = []
        for filter_ in self._filters:
            held = [out for event in held for out in filter_.feed(event)]
            held += filter_.close()
        return held


def left_out(before: JsonObject, after: JsonObject) -> list[str]:
    """The dotted paths of the fields that only ``before`` has. What holds the conversation is not looked into."""
    found: list[str] = []
    pending: list[tuple[str, Any, Any]] = [("", before, after)]
    while pending:
        at, old, new = pending.pop()
        if old is new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            pending += [(at, *pair) for pair in zip(old, new, strict=False)]
        elif isinstance(old, dict) and isinstance(new, dict):
            found += [at + name for name in old if name not in new]
            both = (name for name in old if name in new)
            pending += [(f"{at}{name}.", old[name], new[name]) for name in both if not _is_conversation(name)]
    return list(dict.fromkeys(found))


def _is_conversation(name: str) -> bool:
    return name != "tools" and GUARDED_FIELDS.role(name) == "content"
