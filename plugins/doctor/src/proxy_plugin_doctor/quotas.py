"""The quotas of a running proxy's credentials as tables: what is left, and when it will be used up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import to_builtins

from proxy_core import CredentialStatus, ProcessStatus, QuotaStatus

LEFT = ("provider", "credential", "account", "quota", "tier", "used", "limit", "left", "resets")
FORECAST = ("provider", "account", "quota", "used", "left", "per hour", "empty", "resets")

FORECAST_CSV = (
    *("provider", "credential", "label", "name", "used", "limit", "cap", "left", "per_hour", "empty_at", "resets_at"),
)

#: A time that is further away than this needs its year.
_YEAR_S = 300 * 86_400

Quotas = Mapping[tuple[str, str, str], tuple[CredentialStatus, QuotaStatus]]


def quotas_of(statuses: Iterable[ProcessStatus]) -> Quotas:
    """Open windows by provider, credential and name; of several processes, the figures of the one with the highest
    count, which is the latest."""
    found: dict[tuple[str, str, str], tuple[CredentialStatus, QuotaStatus]] = {}
    for provider in (provider for status in statuses for provider in status.providers):
        for credential in provider.credentials:
            for quota in credential.quotas:
                key = (provider.name, credential.id, quota.name)
                if returns_at(quota) is not None and (key not in found or found[key][1].used < quota.used):
                    found[key] = credential, quota
    return dict(sorted(found.items(), key=lambda item: item[0]))


def returns_at(quota: QuotaStatus) -> datetime | None:
    """When more of it can be used: a cap may end before or after the window in which it was reached."""
    return quota.capped_until or quota.resets_at


def left(quotas: Quotas) -> list[tuple[str, ...]]:
    return [
        (
            *(provider, fingerprint, one.label, name, one.tier or "-", str(quota.used)),
            *(_number(quota.allowed), _share(quota), _iso(returns_at(quota))),
        )
        for (provider, fingerprint, name), (one, quota) in quotas.items()
    ]


def forecast(quotas: Quotas, now: datetime) -> list[tuple[str, ...]]:
    """Times are those of the local clock."""
    return [
        (
            provider,
            credential.label,
            quota.name,
            str(quota.used) if quota.allowed is None else f"{quota.used}/{quota.allowed:.0f}",
            _share(quota),
            f"{quota.per_hour:.0f}" if quota.per_hour >= 1 else "<1" if quota.per_hour else "-",
            _empty(quota, now),
            until(at, now) if (at := returns_at(quota)) is not None else "-",
        )
        for (provider, _, _), (credential, quota) in quotas.items()
    ]


def forecast_objects(quotas: Quotas) -> list[dict[str, Any]]:
    return [
        {"provider": provider, "credential": name, "label": credential.label, **to_builtins(quota), "left": quota.left}
        for (provider, name, _), (credential, quota) in quotas.items()
    ]


def _empty(quota: QuotaStatus, now: datetime) -> str:
    if quota.cooldown is not None and quota.cooldown.until > now:
        return f"cooling down until {until(quota.cooldown.until, now)}"
    if quota.left == 0:
        return "used up"
    if quota.empty_at is not None:
        return until(quota.empty_at, now)
    return "resets first" if quota.allowed is not None and quota.per_hour else "-"


def until(moment: datetime, now: datetime) -> str:
    """``15:40 (2 h 5 min)`` by the local clock; with the day, unless it is today."""
    there, here = moment.astimezone(), now.astimezone()
    left_s = (moment - now).total_seconds()
    day = "" if there.date() == here.date() else f"{there:%a %d %b} " if left_s < _YEAR_S else f"{there:%Y-%m-%d} "
    return f"{day}{there:%H:%M} ({long(left_s) or 'now'})"


def long(duration_s: float) -> str:
    """``2 h 5 min``; empty for less than half a minute."""
    minutes = max(0, round(duration_s / 60))
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60 if minutes < 1440 else 0, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def _number(value: float | None) -> str:
    return f"{value:.0f}" if value is not None else "-"


def _share(quota: QuotaStatus) -> str:
    return f"{quota.left:.0%}" if quota.left is not None else "-"


def _iso(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at is not None else "-"
