"""How permits are shared between processes."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core.interfaces import PermitRequest


def share(claim: PermitRequest, had: int, others: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The permits that a holder is granted, and those that count as its own, which are more while they are in use.

    ``others`` are ``(want, kept)`` of the other living holders; ``had`` is what this one kept.
    See :class:`~proxy_core.interfaces.SyncResponse`.
    """
    others = list(others)
    wanting = sum(want > 0 for want, _ in others) + (claim.want > 0)
    fair = claim.limit // wanting if wanting else 0
    taken = sum(max(kept, min(want, fair)) for want, kept in others)
    granted = max(0, min(claim.want, claim.limit - taken))
    return granted, max(granted, min(claim.used, had))
