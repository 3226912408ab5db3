"""The built-in selectors."""

from __future__ import annotations

from proxy_core.interfaces import Candidate, Candidates, ProxyRequest, Selector


def balanced(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The least busy, and of these the least used."""
    return candidates.least_used()


def sequential(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The same one for as long as it lasts: drains one after the other and keeps its prompt cache warm."""
    return candidates.last or candidates.first


def sticky(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """A conversation stays where it began; new ones go to the least used."""
    return candidates.of_session or candidates.least_used()


BUILT_IN = (
    Selector(name="balanced", select=balanced, preferred_concurrency=1),
    Selector(name="sequential", select=sequential, fair_cycle=True),
    Selector(name="sticky", select=sticky),
)
