"""What the statuses of a proxy's processes say about its accounts. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import CooldownStatus, CredentialStatus, ProcessStatus, ProviderStatus, QuotaStatus

Tone = Literal["good", "warn", "bad"]


class Condition(Struct, frozen=True, kw_only=True):
    """Whether an account can be used, and if not, until when and why. ``used_up``: its quota is the reason."""

    tone: Tone
    words: str
    until: datetime | None = None
    why: str = ""
    used_up: bool = False


class Account(Struct, frozen=True, kw_only=True):
    """One credential. ``quotas``: the one that says most first."""

    provider: str
    id: str
    label: str
    condition: Condition
    in_flight: int
    quotas: Sequence[QuotaStatus]


class Provider(Struct, frozen=True, kw_only=True):
    name: str
    waiting: int
    outage: CooldownStatus | None
    accounts: Sequence[Account]


def providers(statuses: Sequence[ProcessStatus], now: datetime) -> Sequence[Provider]:
    """Those that have credentials, by name; the processes' figures together."""
    found: dict[str, list[ProviderStatus]] = {}
    for status in statuses:
        for provider in status.providers:
            if provider.credential_count:
                found.setdefault(provider.name, []).append(provider)
    return [_provider(found[name], now) for name in sorted(found)]


def _provider(alike: Sequence[ProviderStatus], now: datetime) -> Provider:
    by_id: dict[str, list[CredentialStatus]] = {}
    for one in alike:
        for credential in one.credentials:
            by_id.setdefault(credential.id, []).append(credential)
    outage = _latest(one.circuit_breaker for one in alike)
    return Provider(
        name=alike[0].name,
        waiting=sum(one.waiting for one in alike),
        outage=outage,
        accounts=[_account(alike[0].name, of_one, outage, now) for of_one in by_id.values()],
    )


def _account(provider: str, alike: Sequence[CredentialStatus], outage: CooldownStatus | None, now: datetime) -> Account:
    cooldown = _latest(one.cooldown for one in alike)
    telling = next((one for one in alike if one.state not in ("usable", "busy")), alike[0])
    quotas = sorted(_quotas(alike).values(), key=lambda quota: _telling(quota, now), reverse=True)
    own = condition(replace(telling, cooldown=cooldown, quotas=quotas), now)
    return Account(
        provider=provider,
        id=telling.id,
        label=telling.label,
        condition=own if outage is None or own.tone == "bad" else _out(outage, now),
        in_flight=sum(one.in_flight for one in alike),
        quotas=quotas,
    )


def _latest(cooldowns: Iterable[CooldownStatus | None]) -> CooldownStatus | None:
    return max((one for one in cooldowns if one is not None), key=lambda one: one.until, default=None)


def _quotas(alike: Sequence[CredentialStatus]) -> Mapping[str, QuotaStatus]:
    """Of several processes, the figures of the one that has counted most: it is the latest."""
    found: dict[str, QuotaStatus] = {}
    for quota in (quota for one in alike for quota in one.quotas):
        known = found.get(quota.name)
        found[quota.name] = quota if known is None or _newer(quota, known) else known
    return found


def _newer(one: QuotaStatus, other: QuotaStatus) -> bool:
    return (one.cooldown is not None, one.used) > (other.cooldown is not None, other.used)


def _telling(quota: QuotaStatus, now: datetime) -> tuple[bool, bool, float, int]:
    """The most for one that is used up, then for the fullest one whose size is known."""
    return ends_at(quota, now) is not None, quota.left is not None, 1 - (quota.left or 0.0), quota.used


def ends_at(quota: QuotaStatus, now: datetime) -> datetime | None:
    """Until when the quota cannot be used; ``None`` if it can."""
    ends = [quota.cooldown.until if quota.cooldown is not None else None, quota.capped_until]
    ends += [quota.resets_at if quota.left == 0 else None]
    return max((end for end in ends if end is not None and end > now), default=None)


def _out(outage: CooldownStatus, now: datetime) -> Condition:
    """No account of the provider is used, until a probe has succeeded."""
    until = outage.next_probe if outage.next_probe > now else None
    return Condition(tone="bad", words="its provider fails", until=until)


def condition(one: CredentialStatus, now: datetime) -> Condition:
    if one.state in ("needs login", "needs setup"):
        return Condition(tone="bad", words=one.state, why=one.note)
    if one.cooldown is not None and one.cooldown.until > now:
        return Condition(tone="bad", words="cooling down", until=one.cooldown.until, why=one.cooldown.message)
    spent = {quota.name: end for quota in one.quotas if (end := ends_at(quota, now)) is not None}
    if spent:
        return _spent(one.quotas, spent)
    if one.state in ("refreshing", "probing"):
        return Condition(tone="warn", words=one.state, why=one.note)
    return Condition(tone="good", words=one.state, why=one.note)


def _spent(quotas: Sequence[QuotaStatus], spent: Mapping[str, datetime]) -> Condition:
    """All quotas are used up, or some: a quota is, if one of its windows is."""
    ends: dict[str, datetime] = {}
    for name, end in spent.items():
        ends[_group(name)] = max(end, ends.get(_group(name), end))
    told = next((quota.cooldown.message for quota in quotas if quota.name in spent and quota.cooldown), "")
    if ends.keys() == {_group(quota.name) for quota in quotas}:
        return Condition(tone="bad", words="used up", until=min(ends.values()), why=told, used_up=True)
    names = ", ".join(sorted(ends))
    why = f"{names}: {told}" if told else names
    return Condition(tone="warn", words="partly used up", until=min(ends.values()), why=why, used_up=True)


def _group(name: str) -> str:
    """The quota whose window this is: ``small`` of ``small (weekly)``."""
    return name.rpartition(" (")[0] if name.endswith(")") and " (" in name else name
