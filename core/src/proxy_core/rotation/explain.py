"""Explanations: which credentials were candidates and why the others were not, per decision or for the operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import datetime
from typing import Any

from proxy_core.clock import Instant
from proxy_core.interfaces import Deployment
from proxy_core.interfaces.records import Decision, Exclusion
from proxy_core.rotation import quota
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.ledger import Ledger
from proxy_core.rotation.obstacles import Obstacle, obstacle, reserved_for_others
from proxy_core.rotation.pool import Lease, Pool
from proxy_core.rotation.reserves import NOTHING
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, Reserved, beyond

#: Removes what looks like a secret: an upstream may repeat the key that it refuses.
Clean = Callable[[str], str]
#: How many excluded credentials a decision lists by name; the rest are only counted.
_NAMED = 20


def decided(
    pool: Pool,
    model: str,
    lease: Lease | None,
    tried: Set[str],
    deployment: Deployment | str,
    at_s: float,
    max_priority: int | None = None,
    unable: Set[str] = frozenset(),
    kept: Mapping[str, Reserved] = NOTHING,
) -> Decision:
    """One selection, recorded right after it happened; costs next to nothing unless credentials were excluded."""
    ledger, now = pool.ledger, pool.clock.monotonic()
    if lease is None:
        chosen, group = None, ledger.settled(model, now)
    else:
        chosen, group = lease.credential.id, ledger.group(model)  # settled when it was leased
    excluded: list[Exclusion] = []
    unnamed = 0
    tried = tried | unable if unable else tried
    tried = tried | kept.keys() if kept else tried
    if tried or max_priority is not None or group.of_model or len(group.unusable) > (chosen in group.unusable):
        rows = _excluded_rows(ledger, group, chosen, tried | group.closed(model, now), max_priority)
        limits = (tried, max_priority, unable, kept)
        excluded = [_exclusion(ledger, group, model, row, now, *limits) for row in rows[:_NAMED]]
        unnamed = len(rows) - len(excluded)
    return Decision(
        deployment=str(deployment),
        candidates=len(group.loads) - len(excluded) - unnamed,
        excluded=excluded,
        unnamed=unnamed,
        chosen=chosen,
        probe=lease is not None and lease.probes,
        outage_s=_left(ledger.outage, now),
        at_s=at_s,
    )


def _excluded_rows(
    ledger: Ledger, group: QuotaGroup, chosen: str | None, others: Set[str], max_priority: int | None
) -> list[CredentialState]:
    """The credentials that could not be chosen, in the order of settings; then the rest of ``others``."""
    limit = beyond(max_priority)
    rows: Iterable[CredentialState] = group.unusable.values() if max_priority is None else ledger.rows
    excluded = [row for row in rows if group.loads[row.position] >= limit and row.id != chosen]
    excluded.sort(key=lambda row: row.position)
    known = [row for row in _known_rows(ledger, others) if group.loads[row.position] < limit and row.id != chosen]
    return excluded + known


def _known_rows(ledger: Ledger, names: Iterable[str]) -> list[CredentialState]:
    rows = (ledger.known.get(name) for name in names)
    return [row for row in rows if row is not None and not row.retired]


def _exclusion(
    ledger: Ledger,
    group: QuotaGroup,
    model: str,
    row: CredentialState,
    now: float,
    tried: Set[str] = frozenset(),
    max_priority: int | None = None,
    unable: Set[str] = frozenset(),
    kept: Mapping[str, Reserved] = NOTHING,
) -> Exclusion:
    name = row.id
    if name in kept:
        return _excluded(name, reserved_for_others(kept[name]), now)
    if name in unable:
        return Exclusion(credential=name, reason="unable")
    if name in tried:
        return Exclusion(credential=name, reason="tried")
    if max_priority is not None and row.priority > max_priority:
        return Exclusion(credential=name, reason="priority")
    return _excluded(name, obstacle(ledger, group, model, row, now), now)


def _excluded(name: str, found: Obstacle, now: float) -> Exclusion:
    left_s = None if found.ends_at is None else max(0.0, found.ends_at - now)
    return Exclusion(credential=name, reason=found.reason, left_s=left_s, message=found.note)


def _left(cooldown: Cooldown | None, now: float) -> float | None:
    return max(0.0, cooldown.probe_at - now) if cooldown is not None else None


# --- For the operator --------------------------------------------------------------------


def described(pool: Pool, model: str, clean: Clean) -> dict[str, Any]:
    """A provider's credentials as they stand for one model, as JSON: no secrets, times in UTC.

    ``clean``: what upstreams said.
    """
    instant, ledger = Instant.of(pool.clock), pool.ledger
    group = ledger.settled(model, instant.monotonic)
    return {
        "selector": ledger.policy.selector.name,
        "quota_group": ledger.policy.group_of(model),
        "outage": _cooldown(ledger.outage, instant, clean),
        "credentials": [_credential(ledger, group, model, row, instant, clean) for row in ledger.rows],
    }


def _credential(
    ledger: Ledger, group: QuotaGroup, model: str, row: CredentialState, instant: Instant, clean: Clean
) -> dict[str, Any]:
    usable = group.loads[row.position] != UNUSABLE and row.id not in group.closed(model, instant.monotonic)
    kept = ledger.policy.reserves and row.id in group.reserved
    exclusion = None if usable else _exclusion(ledger, group, model, row, instant.monotonic)
    cooldowns = [
        ("every model", row.cooldown),
        (group.name, group.cooldowns.get(row.id)),
        (f"{model} only", group.of(model).get(row.id)),
    ]
    return {
        "id": row.credential.id,
        "label": row.credential.label,
        "tier": row.credential.tier,
        "priority": row.credential.priority,
        "state": exclusion.reason if exclusion is not None else "reserved" if kept else "usable",
        "why": row.unavailable or row.note,
        "reserved": _reserved(group.reserved.get(row.id), instant),
        "in_flight": row.in_flight,
        **_window(group, row, instant),
        "windows": [{"name": each.name, **_window(each, row, instant)} for each in ledger.windows_of(group)[1:]],
        "cooldowns": [
            {"scope": scope, **found} for scope, c in cooldowns if (found := _cooldown(c, instant, clean)) is not None
        ],
    }


def _reserved(reserved: Reserved | None, instant: Instant) -> dict[str, Any] | None:
    if reserved is None:
        return None
    until = None if reserved.until == UNUSABLE else _iso(instant.utc(reserved.until))
    return {"for": list(reserved.clients), "until": until}


def _window(group: QuotaGroup, row: CredentialState, instant: Instant) -> dict[str, Any]:
    now = quota.standing(group, row, instant.monotonic)
    return {
        "used": now.used,
        "limit": now.limit,
        "window_resets": _iso(instant.utc(now.resets_at)) if now.resets_at is not None else None,
        "capped_until": _iso(instant.utc(now.capped_until)) if now.capped_until is not None else None,
    }


def _cooldown(cooldown: Cooldown | None, instant: Instant, clean: Clean) -> dict[str, Any] | None:
    if cooldown is None:
        return None
    return {
        "since": _iso(instant.utc(cooldown.since)),
        "until": _iso(instant.utc(cooldown.until)),
        "next_probe": _iso(instant.utc(cooldown.probe_at)),
        "probing": cooldown.probing,
        "failures": cooldown.failures,
        "code": cooldown.told.code or cooldown.told.kind,
        "upstream_message": clean(cooldown.told.message),
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def as_json(decision: Decision, clean: Clean) -> dict[str, Any]:
    """As JSON without empty fields. ``clean``: what upstreams said, of which nothing may be left."""
    found = {
        "deployment": decision.deployment,
        "candidates": decision.candidates,
        "excluded": [dict(_exclusion_fields(exclusion, clean)) for exclusion in decision.excluded],
        "unnamed": decision.unnamed,
        "chosen": decision.chosen,
        "probe": decision.probe,
        "outage_s": round(decision.outage_s, 3) if decision.outage_s is not None else None,
        "at_s": round(decision.at_s, 3),
    }
    return {name: value for name, value in found.items() if value or name == "chosen"}


def _exclusion_fields(exclusion: Exclusion, clean: Clean) -> Iterator[tuple[str, Any]]:
    yield "credential", exclusion.credential
    yield "reason", exclusion.reason
    if exclusion.left_s is not None:
        yield "left_s", round(exclusion.left_s, 1)
    if message := clean(exclusion.message):
        yield "upstream_message", message
