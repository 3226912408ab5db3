"""What keeps a credential from serving a model now, and until when: for the client's error and for explanations."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from proxy_core.interfaces.records import Reason
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.ledger import Ledger, cooldowns_of
from proxy_core.rotation.pool import Pool
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, Reserved


class Obstacle(Struct, frozen=True, kw_only=True):
    """``ends_at``: monotonic seconds when it may end; ``None`` if that is unknown. ``outage``: the cooldown is the
    provider's. ``note`` is for the operator and for clients."""

    reason: Reason
    ends_at: float | None = None
    cooldown: Cooldown | None = None
    outage: bool = False
    note: str = ""


def obstacle(ledger: Ledger, group: QuotaGroup, model: str, row: CredentialState, now: float) -> Obstacle:
    """Why a credential that cannot be leased for ``model``, of ``group``, cannot be leased."""
    if row.unavailable:
        reason: Reason = "needs login" if row.needs_login else "needs setup" if row.needs_setup else "refreshing"
        return Obstacle(reason=reason, note=row.unavailable, ends_at=row.retry_at if row.retry_at > now else None)
    if row.expires_at <= now:
        return Obstacle(reason="refreshing", note="its token has expired")
    closed = (c for c in cooldowns_of(row, group, model) if c.closed(now))
    cooldown = max(closed, key=_weight, default=None)
    if cooldown is not None:
        reason = "probing" if cooldown.probing else "cooling down"
        return _cooling_down(reason, cooldown)
    capping = ledger.capping(group, row)
    if capping:
        last = max(capping, key=lambda window: window.capped[row.id])
        note = "" if last is group else f"the cap on {last.name} is reached"
        return Obstacle(reason="capped", ends_at=last.capped[row.id], note=note)
    if row.in_flight >= min(row.max_concurrent, row.granted):
        return Obstacle(reason="busy")
    return Obstacle(reason="fair cycle", ends_at=ledger.usable_at(group, model, row, now))


def _weight(cooldown: Cooldown) -> tuple[bool, float]:
    """Of several, one that waiting does not end, or else the longest, is what is waited for."""
    return not cooldown.told.waiting_helps, cooldown.probe_at


def _cooling_down(reason: Reason, cooldown: Cooldown, *, outage: bool = False) -> Obstacle:
    note = cooldown.told.message
    return Obstacle(reason=reason, ends_at=cooldown.probe_at, cooldown=cooldown, outage=outage, note=note)


def reserved_for_others(reserved: Reserved) -> Obstacle:
    """To a client it does not say who the others are."""
    return Obstacle(reason="reserved", ends_at=None if reserved.until == UNUSABLE else reserved.until)


def obstacles(
    pool: Pool, model: str, max_priority: int | None, kept: Mapping[str, Reserved]
) -> dict[str, Obstacle | None]:
    """For each credential that may serve the model, what keeps it from doing so; ``None`` if nothing does.

    ``kept``: those that are kept for other clients.
    """
    now, ledger = pool.clock.monotonic(), pool.ledger
    group, outage = ledger.settled(model, now), ledger.outage
    rows = [row for row in ledger.rows if max_priority is None or row.priority <= max_priority]
    if outage is not None and outage.closed(now):
        return dict.fromkeys((row.id for row in rows), _cooling_down("cooling down", outage, outage=True))
    closed = group.closed(model, now)
    usable = {row.id for row in rows if group.loads[row.position] != UNUSABLE and row.id not in closed}
    found = {row.id: None if row.id in usable else obstacle(ledger, group, model, row, now) for row in rows}
    return found | {name: reserved_for_others(reserved) for name, reserved in kept.items() if name in found}
