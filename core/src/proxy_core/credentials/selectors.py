"""The built-in selectors: pure functions over usable candidates, never empty."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_core.interfaces import Candidate, ProxyRequest, Selector


def balanced(candidates: Sequence[Candidate], request: ProxyRequest) -> Candidate:
    """The least busy; among equals the one unused for longest."""
    return min(candidates, key=lambda c: (c.in_flight, c.last_used))


def sequential(candidates: Sequence[Candidate], request: ProxyRequest) -> Candidate:
    """The first usable one in the order of settings: drain one, keep its prompt cache warm."""
    return candidates[0]


BUILT_IN = (Selector(name="balanced", select=balanced), Selector(name="sequential", select=sequential))
