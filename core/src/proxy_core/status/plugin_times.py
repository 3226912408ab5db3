"""Measures how long plugins' functions take, by wrapping each when the proxy is built.

Only totals are kept; time on a request's path is not distinguished from other time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from time import perf_counter
from typing import TypeVar, TypeVarTuple

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.interfaces import EventFilter, PluginTime, ProxyRequest, Sanitizer
from proxy_core.messages import ChatEvent
from proxy_core.plugins.registry import Catalog

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


class Cell(Struct):
    """One function's total."""

    calls: int = 0
    seconds: float = 0.0
    #: Redactors run in the log's thread and in the recorder's.
    lock: Lock = field(default_factory=Lock)


class PluginTimes(Struct, frozen=True):
    """Totals by plugin, role and name."""

    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)

    def watch(self, catalog: Catalog) -> Catalog:
        """The same catalog with its sanitizers, redactors and selectors measured."""

        def cell(hook: str, role: str, name: str) -> Cell:
            return self.cells.setdefault((catalog.owner(hook, name), role, name), Cell())

        def sanitizer(given: Sanitizer) -> Sanitizer:
            request, events = given.request, given.events
            if request is not None:
                request = _timed(request, cell("proxy_sanitizers", "sanitizer", given.name))
            if events is not None:
                events = _filters(events, cell("proxy_sanitizers", "event_filter", given.name))
            return replace(given, request=request, events=events)

        return replace(
            catalog,
            sanitizers=tuple(sanitizer(s) for s in catalog.sanitizers),
            redactors=tuple(
                replace(r, redact=_timed_in_threads(r.redact, cell("proxy_redactors", "redactor", r.name)))
                for r in catalog.redactors
            ),
            selectors={
                name: replace(s, select=_timed(s.select, cell("proxy_selectors", "selector", name)))
                for name, s in catalog.selectors.items()
            },
        )

    def read(self) -> Sequence[PluginTime]:
        """The functions that have been called."""
        return [
            PluginTime(plugin=plugin, role=role, name=name, calls=cell.calls, seconds=cell.seconds)
            for (plugin, role, name), cell in self.cells.items()
            if cell.calls
        ]


def _timed(call: Callable[[*Ts], R], cell: Cell) -> Callable[[*Ts], R]:
    def timed(*args: *Ts) -> R:
        began = perf_counter()
        try:
            return call(*args)
        finally:
            cell.seconds += perf_counter() - began
            cell.calls += 1

    return timed


def _timed_in_threads(call: Callable[[*Ts], R], cell: Cell) -> Callable[[*Ts], R]:
    def timed(*args: *Ts) -> R:
        began = perf_counter()
        try:
            return call(*args)
        finally:
            with cell.lock:
                cell.seconds += perf_counter() - began
                cell.calls += 1

    return timed


def _filters(
    events: Callable[[ProxyRequest], EventFilter | None], cell: Cell
) -> Callable[[ProxyRequest], EventFilter | None]:
    def timed(request: ProxyRequest) -> EventFilter | None:
        found = events(request)
        return _TimedFilter(found, cell) if found is not None else None

    return timed


class _TimedFilter:
    __slots__ = ("close", "feed")

    feed: Callable[[ChatEvent], Sequence[ChatEvent]]
    close: Callable[[], Sequence[ChatEvent]]

    def __init__(self, filter_: EventFilter, cell: Cell) -> None:
        self.feed = _timed(filter_.feed, cell)
        self.close = _timed(filter_.close, cell)
