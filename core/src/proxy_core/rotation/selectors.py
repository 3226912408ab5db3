"""The built-in selectors."""

from __future__ import annotations

from proxy_core.interfaces import Candidate, Candidates, ProxyRequest, Selector


def balanced(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The least busy credential, and of these the least used."""
    return candidates.least_used()


def sequential(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The same credential until it is exhausted; this keeps its prompt cache warm."""
    return candidates.last or candidates.first


def sticky(candidates: Candidates, request: ProxyRequest) -> Candidate:
    """The credential with which the conversation began; new conversations get the least used one."""
    return candidates.of_session or candidates.least_used()


BUILT_IN = (
    Selector(name="balanced", select=balanced, preferred_concurrency=1),
    Selector(name="sequential", select=sequential, fair_cycle=True),
    Selector(name="sticky", select=sticky),
)
