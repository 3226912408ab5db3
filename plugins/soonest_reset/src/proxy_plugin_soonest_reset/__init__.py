"""Spend the quota that resets soonest first, because whatever is left of it is lost when its window ends."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import Candidate, Candidates, PluginContext, PluginInfo, ProxyRequest, Selector, hookimpl

PLUGIN = PluginInfo(name="soonest_reset", api=1)

_UNTRIED, _LEFT, _UNKNOWN, _USED_UP = range(4)


@hookimpl
def proxy_selectors(ctx: PluginContext) -> Iterable[Selector]:
    return [Selector(name="soonest_reset", select=select)]


def select(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The candidate that has quota left and whose window ends first. Looks at every candidate: O(n) per attempt."""
    return min(candidates, key=_order)


def _order(candidate: Candidate) -> tuple[int, float, int, int]:
    """Sort key, lowest first; ties go to the least busy candidate, then to the least used one."""
    limit, used, resets_in_s = candidate.limit, candidate.used, candidate.resets_in_s
    if limit is None or resets_in_s is None:
        # One request is enough to learn the quota. A credential whose quota stays unknown after that comes later.
        return (_UNTRIED if used == 0 else _UNKNOWN), 0.0, candidate.in_flight, used
    return (_LEFT if used < limit else _USED_UP), resets_in_s, candidate.in_flight, used
