"""What the statuses of a proxy's processes say about its accounts. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import CooldownStatus, CredentialStatus, ProcessStatus, ProviderStatus, QuotaStatus
from proxy_plugin_top.words import until

Tone = Literal["good", "warn", "bad"]


#: Kinds of cooldowns that end only when someone acts.
_MUST_ACT: Mapping[str, str] = {"refused": "rejected by the provider", "unpaid": "no credit left"}

#: An account's models that cannot be used: this many are named.
_NAMED = 3


class Condition(Struct, frozen=True, kw_only=True):
    """Whether an account can be used, and if not, until when and why."""

    tone: Tone
    words: str
    until: datetime | None = None
    why: str = ""


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
    probe = outage.next_probe if outage.next_probe > now else None
    return Condition(tone="bad", words="its provider fails", until=probe)


def condition(one: CredentialStatus, now: datetime) -> Condition:
    if one.state in ("needs login", "needs setup"):
        return Condition(tone="bad", words=one.state, why=one.note)
    cooldown = one.cooldown
    if cooldown is not None and cooldown.kind in _MUST_ACT:  # also once it is over, until a request has succeeded
        return Condition(tone="bad", words=_MUST_ACT[cooldown.kind], why=cooldown.message)
    if cooldown is not None and cooldown.until > now:
        return Condition(tone="bad", words=_resting(cooldown), until=cooldown.until, why=cooldown.message)
    spent = [quota for quota in one.quotas if ends_at(quota, now) is not None]
    if spent:
        return _spent(one.quotas, spent, now)
    if one.state in ("refreshing", "probing"):
        return Condition(tone="warn", words=one.state, why=one.note)
    return Condition(tone="good", words=one.state, why=one.note)


def _resting(cooldown: CooldownStatus) -> str:
    return "used up" if cooldown.kind == "rate_limit" else "cooling down"


def _spent(quotas: Sequence[QuotaStatus], spent: Sequence[QuotaStatus], now: datetime) -> Condition:
    """All quotas that are known cannot be used, or some: a quota cannot, if one of its windows cannot."""
    ends: dict[str, datetime] = {}
    for quota in spent:
        name, end = _group(quota.name), ends_at(quota, now) or now
        ends[name] = max(end, ends.get(name, end))
    resting = [quota.cooldown for quota in spent if quota.cooldown is not None and quota.cooldown.until > now]
    told = next((cooldown.message for cooldown in resting), "")
    if ends.keys() == {_group(quota.name) for quota in quotas}:
        used_up = len(resting) < len(spent) or "used up" in map(_resting, resting)
        words = "used up" if used_up else "cooling down"
        return Condition(tone="bad", words=words, until=min(ends.values()), why=told)
    some = [f"{name} until {until(ends[name], now)}" for name in sorted(ends)[:_NAMED]]
    more = f" and {len(ends) - len(some)} more" if len(ends) > len(some) else ""
    why = f"not for {', '.join(some)}{more}"
    return Condition(tone="warn", words="partly usable", why=f"{why}: {told}" if told else why)


def _group(name: str) -> str:
    """The quota whose window this is: ``small`` of ``small (weekly)``."""
    return name.rpartition(" (")[0] if name.endswith(")") and " (" in name else name
