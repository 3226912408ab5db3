"""How one credential stands: can it be used, for what, until when not, and who must act. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct

from proxy_core import CooldownStatus, CredentialStatus, QuotaStatus

#: ``part``: usable, but not for everything.
Tone = Literal["good", "part", "warn", "bad", "calm"]
_NEARLY = 0.85
#: Kinds of cooldowns that end only when someone acts.
_MUST_ACT: Mapping[str, str] = {"refused": "rejected by the provider", "unpaid": "no credit left"}


class Bar(Struct, frozen=True, kw_only=True):
    """One quota of a credential. ``percent`` is used; ``None``: nobody has said how much there is."""

    name: str
    used: int
    allowed: float | None
    percent: int | None
    tone: Tone
    resets_at: datetime | None
    full_until: datetime | None
    cooldown: CooldownStatus | None
    per_hour: float
    empty_at: datetime | None
    kept_for: str = ""


class Standing(NamedTuple):
    """Its state in words, the reason, until when, and the quotas that alone cannot be used."""

    tone: Tone
    words: str
    why: str = ""
    until: datetime | None = None
    without: Sequence[str] = ()


def standing(
    credential: CredentialStatus, bars: Sequence[Bar], now: datetime, outage: CooldownStatus | None = None
) -> Standing:
    """``outage``: while the provider fails for every account, none is used until a probe has succeeded."""
    found = _standing(credential, bars, now)
    if outage is None or found.tone == "bad":
        return found
    return Standing("warn", "its provider fails", "", outage.next_probe if outage.next_probe > now else None)


def _standing(credential: CredentialStatus, bars: Sequence[Bar], now: datetime) -> Standing:
    state, cooldown = credential.state, credential.cooldown
    if state in ("needs login", "needs setup"):
        return Standing("bad", state, credential.note)
    if cooldown is not None and cooldown.kind in _MUST_ACT:  # also once it is over, until a request has succeeded
        why, until = cooldown.message or cooldown.code, cooldown.until if cooldown.until > now else None
        return Standing("bad", _MUST_ACT[cooldown.kind], why, until)
    if cooldown is not None and (state in ("cooling down", "probing") or cooldown.until > now):
        words = "being probed" if state == "probing" else _resting(cooldown)
        return Standing("warn", words, cooldown.message or cooldown.code, cooldown.until)
    blocked = _blocked(bars, now)
    names = sorted(blocked)
    why = next((told for name in names if (told := blocked[name].why)), "")
    if not names:
        return Standing("good", state, credential.note)
    ends = [one.until for one in blocked.values() if one.until is not None]
    if blocked.keys() < {_quota_of(bar) for bar in bars}:
        return Standing("part", "partly usable", why, min(ends, default=None), names)
    words = "used up" if any(one.words == "used up" for one in blocked.values()) else "cooling down"
    return Standing("warn", words, why, min(ends, default=None))


def _resting(cooldown: CooldownStatus) -> str:
    return "used up" if cooldown.kind == "rate_limit" else "cooling down"


def _blocked(bars: Sequence[Bar], now: datetime) -> Mapping[str, Standing]:
    """The quotas that cannot be used now, each until the last of its windows resets."""
    found: dict[str, Standing] = {}
    for bar in bars:
        name, cooldown = _quota_of(bar), bar.cooldown
        if cooldown is not None and cooldown.until > now:
            one = Standing("warn", _resting(cooldown), cooldown.message or cooldown.code, cooldown.until)
        elif bar.full_until is not None or bar.percent == 100:
            one = Standing("warn", "used up", "", bar.full_until or bar.resets_at)
        else:
            continue
        found[name] = max(found.get(name, one), one, key=lambda each: each.until or now)
    return found


def _quota_of(bar: Bar) -> str:
    """``small`` of its window ``small (weekly)``."""
    return bar.name.rpartition(" (")[0] if bar.name.endswith(")") and " (" in bar.name else bar.name


def bar_of(quota: QuotaStatus, now: datetime) -> Bar:
    allowed = quota.allowed
    percent = None if allowed is None else 100 if not allowed else min(100, round(100 * quota.used / allowed))
    full = quota.capped_until if quota.capped_until is not None and quota.capped_until > now else None
    if full is None and percent == 100:
        full = quota.resets_at
    worn = percent is not None and percent >= 100 * _NEARLY
    return Bar(
        name=quota.name,
        used=quota.used,
        allowed=allowed,
        percent=percent,
        tone="bad" if full is not None or percent == 100 else "warn" if worn or quota.empty_at else "good",
        resets_at=quota.resets_at,
        full_until=full,
        cooldown=quota.cooldown,
        per_hour=quota.per_hour,
        empty_at=quota.empty_at,
        kept_for=", ".join(quota.reserved_for),
    )
