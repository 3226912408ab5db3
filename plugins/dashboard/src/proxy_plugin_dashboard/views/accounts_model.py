"""What the page of accounts shows: every provider's credentials, from the statuses of all workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import CooldownStatus, CredentialStatus, ProcessStatus, ProviderStatus, QuotaStatus

PER_PAGE = 50
#: ``part``: usable, but not for everything.
Tone = Literal["good", "part", "warn", "bad", "calm"]
#: Choices of the filter, and the tones of the rows that each shows.
FILTERS: Mapping[str, tuple[str, tuple[Tone, ...]]] = {
    "": ("All", ("good", "part", "warn", "bad", "calm")),
    "usable": ("Usable", ("good", "part")),
    "waiting": ("Used up or cooling down", ("warn",)),
    "act": ("Needs you", ("bad",)),
    "off": ("Disabled", ("calm",)),
}
_KINDS = {"api_key": "API key", "none": "no key"}
_NEARLY = 0.85
#: The summary names this many accounts that cannot be used.
_NAMED = 3
_SOON = timedelta(days=1)


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


class Row(Struct, frozen=True, kw_only=True):
    """One credential. ``words`` say its state, ``why`` who or what is the reason, ``without`` what it cannot serve."""

    provider: str
    id: str
    label: str
    kind: str
    tier: str | None
    tone: Tone
    words: str
    why: str = ""
    until: datetime | None = None
    without: Sequence[str] = ()
    next_probe: datetime | None = None
    in_flight: int = 0
    max_concurrent: int | None = None
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    expires_soon: bool = False
    refreshable: bool = False
    bars: Sequence[Bar] = ()
    can_clear: bool = False
    can_test: bool = False
    can_login: bool = False
    place: str = ""
    in_vault: bool = False
    disabled: bool = False

    @property
    def has_used(self) -> bool:
        return any(bar.used for bar in self.bars)

    @property
    def kind_words(self) -> str:
        return _KINDS.get(self.kind, "login")


class Group(Struct, frozen=True, kw_only=True):
    """One provider. ``rows`` are those on this page of the list, ``found`` those that the search found."""

    name: str
    lifecycle: str
    lifecycle_note: str
    total: int
    found: int
    in_flight: int
    waiting: int
    outage: CooldownStatus | None
    rows: Sequence[Row]
    can_login: bool = False
    takes_keys: bool = False


class Summary(Struct, frozen=True, kw_only=True):
    """The answer to the first question: which accounts can be used, which cannot, and until when."""

    total: int
    usable: int
    partly: int
    waiting: int
    act: int
    disabled: int
    used_up: Sequence[Row]


class AccountsModel(Struct, frozen=True, kw_only=True):
    now: datetime
    summary: Summary
    groups: Sequence[Group]
    unused: Sequence[ProviderStatus]
    found: int
    page: int
    last: int
    q: str
    only: str


class Unlent(Struct, frozen=True, kw_only=True):
    """A credential as the vault and the settings know it: where it is, and why it is not lent."""

    provider: str
    id: str
    name: str
    kind: str
    state: str
    why: str
    place: str
    in_vault: bool
    tier: str | None = None
    expires_at: datetime | None = None


class Today(Struct, frozen=True, kw_only=True):
    """Usage since 00:00 UTC. ``cost`` is in US dollars, for the ``priced`` requests."""

    requests: int
    cost: float
    priced: int


class Known(Struct, frozen=True, kw_only=True):
    """What the status does not say: the credentials that are not lent, and what each provider accepts."""

    credentials: Sequence[Unlent] = ()
    logins: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    problem: str = ""
    by_id: Mapping[tuple[str, str], Unlent] = field(default_factory=dict)


def accounts_model(statuses: Sequence[ProcessStatus], known: Known, query: Mapping[str, str]) -> AccountsModel:
    """``statuses``: of all workers. ``query``: ``q`` searches, ``only`` filters, ``page`` counts from 1."""
    now = max(status.taken_at for status in statuses)
    providers = merged_providers(statuses)
    rows = [row for name in sorted({*providers, *_names(known)}) for row in _rows(name, providers, known, now)]
    q, only = query.get("q", "").strip(), query.get("only", "")
    only = only if only in FILTERS else ""
    found = [row for row in rows if row.tone in FILTERS[only][1] and _matches(row, q)]
    last = max(1, -(-len(found) // PER_PAGE))
    page = min(max(1, _number(query.get("page", ""))), last)
    shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    return AccountsModel(
        now=now,
        summary=_summary(rows),
        groups=_groups(providers, known, rows, found, shown),
        unused=[] if q or only or page < last else _unused(providers.values(), rows),
        found=len(found),
        page=page,
        last=last,
        q=q,
        only=only,
    )


# --- Several workers ---------------------------------------------------------------------


def merged_providers(statuses: Iterable[ProcessStatus]) -> Mapping[str, ProviderStatus]:
    """Each provider as all workers together see it: counts are added; of what they share, the latest counts."""
    found: dict[str, list[ProviderStatus]] = {}
    for status in statuses:
        for provider in status.providers:
            found.setdefault(provider.name, []).append(provider)
    return {name: _merged(providers) for name, providers in found.items()}


def _merged(providers: Sequence[ProviderStatus]) -> ProviderStatus:
    if len(providers) == 1:
        return providers[0]
    same: dict[str, list[CredentialStatus]] = {}
    for provider in providers:
        for credential in provider.credentials:
            same.setdefault(credential.id, []).append(credential)
    return replace(
        providers[0],
        in_flight=sum(provider.in_flight for provider in providers),
        waiting=sum(provider.waiting for provider in providers),
        circuit_breaker=_longest(provider.circuit_breaker for provider in providers),
        credentials=[_one(credentials) for credentials in same.values()],
    )


def _one(seen: Sequence[CredentialStatus]) -> CredentialStatus:
    worst = max(seen, key=lambda credential: _SEVERITY.index(credential.state))
    quotas: dict[str, list[QuotaStatus]] = {}
    for credential in seen:
        for quota in credential.quotas:
            quotas.setdefault(quota.name, []).append(quota)
    return replace(
        worst,
        in_flight=sum(credential.in_flight for credential in seen),
        last_used_at=max((c.last_used_at for c in seen if c.last_used_at is not None), default=None),
        cooldown=_longest(credential.cooldown for credential in seen),
        quotas=[max(same, key=lambda q: (q.cooldown is not None, q.used)) for same in quotas.values()],
    )


_SEVERITY = ("usable", "busy", "probing", "refreshing", "cooling down", "needs setup", "needs login")


def _longest(cooldowns: Iterable[CooldownStatus | None]) -> CooldownStatus | None:
    return max((c for c in cooldowns if c is not None), key=lambda c: c.until, default=None)


# --- One credential ----------------------------------------------------------------------

#: Kinds of cooldowns that end only when someone acts.
_MUST_ACT: Mapping[str, str] = {"refused": "rejected by the provider", "unpaid": "no credit left"}


class Standing(NamedTuple):
    """Its state in words, the reason, until when, and the quotas that alone cannot be used."""

    tone: Tone
    words: str
    why: str = ""
    until: datetime | None = None
    without: Sequence[str] = ()


def _rows(name: str, providers: Mapping[str, ProviderStatus], known: Known, now: datetime) -> Iterable[Row]:
    lent = providers[name].credentials if name in providers else ()
    for credential in lent:
        yield _row(name, credential, known, now)
    ids = {credential.id for credential in lent}
    yield from (_unlent(one, known) for one in known.credentials if one.provider == name and one.id not in ids)


def _row(provider: str, credential: CredentialStatus, known: Known, now: datetime) -> Row:
    bars = [_bar(quota, now) for quota in sorted(credential.quotas, key=lambda quota: quota.name)]
    standing = _state(credential, bars, now)
    cooldown, there = credential.cooldown, known.by_id.get((provider, credential.id))
    return Row(
        provider=provider,
        id=credential.id,
        label=credential.label,
        kind=credential.kind,
        tier=credential.tier,
        tone=standing.tone,
        words=standing.words,
        why=standing.why,
        until=standing.until,
        without=standing.without,
        next_probe=cooldown.next_probe if cooldown is not None and cooldown.until > now else None,
        in_flight=credential.in_flight,
        max_concurrent=credential.max_concurrent,
        last_used_at=credential.last_used_at,
        expires_at=credential.expires_at,
        expires_soon=credential.expires_at is not None and credential.expires_at - now < _SOON,
        refreshable=credential.refreshable,
        bars=bars,
        can_clear=cooldown is not None or any(bar.cooldown is not None for bar in bars),
        can_test=there is not None,
        can_login=provider in known.logins and (cooldown is None or cooldown.kind != "unpaid"),
        place=there.place if there is not None else "",
        in_vault=there is not None and there.in_vault,
    )


def _state(credential: CredentialStatus, bars: Sequence[Bar], now: datetime) -> Standing:
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


def _bar(quota: QuotaStatus, now: datetime) -> Bar:
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


def _unlent(one: Unlent, known: Known) -> Row:
    disabled = one.state == "disabled"
    return Row(
        provider=one.provider,
        id=one.id,
        label=one.name,
        kind=one.kind,
        tier=one.tier,
        tone="calm" if disabled else "bad",
        words=one.state if one.state != "ok" else "not loaded yet",
        why=one.why,
        expires_at=one.expires_at,
        can_test=not disabled,
        can_login=one.provider in known.logins,
        place=one.place,
        in_vault=one.in_vault,
        disabled=disabled,
    )


# --- All of them -------------------------------------------------------------------------


def _names(known: Known) -> Iterable[str]:
    return (one.provider for one in known.credentials)


def _matches(row: Row, q: str) -> bool:
    text = " ".join((row.provider, row.label, row.id, row.kind, row.tier or "", row.words, row.why)).lower()
    return all(word in text for word in q.lower().split())


def _summary(rows: Sequence[Row]) -> Summary:
    waiting = [row for row in rows if row.tone == "warn"]
    return Summary(
        total=len(rows),
        usable=sum(row.tone in ("good", "part") for row in rows),
        partly=sum(row.tone == "part" for row in rows),
        waiting=len(waiting),
        act=sum(row.tone == "bad" for row in rows),
        disabled=sum(row.tone == "calm" for row in rows),
        used_up=waiting[:_NAMED],
    )


def _unused(providers: Iterable[ProviderStatus], rows: Sequence[Row]) -> list[ProviderStatus]:
    used = {row.provider for row in rows}
    return sorted((p for p in providers if p.name not in used), key=lambda provider: provider.name)


def _groups(
    providers: Mapping[str, ProviderStatus],
    known: Known,
    rows: Sequence[Row],
    found: Sequence[Row],
    shown: Sequence[Row],
) -> list[Group]:
    counts, matches = _counted(rows), _counted(found)
    names = dict.fromkeys(row.provider for row in shown)
    return [_group(name, providers.get(name), known, counts[name], matches[name], shown) for name in names]


def _counted(rows: Iterable[Row]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.provider] = counts.get(row.provider, 0) + 1
    return counts


def _group(
    name: str, provider: ProviderStatus | None, known: Known, total: int, found: int, shown: Sequence[Row]
) -> Group:
    life = provider.lifecycle if provider is not None else None
    return Group(
        name=name,
        lifecycle=life.status if life is not None else "not active",
        lifecycle_note=life.note if life is not None else "No active plugin serves this provider.",
        total=total,
        found=found,
        in_flight=provider.in_flight if provider is not None else 0,
        waiting=provider.waiting if provider is not None else 0,
        outage=provider.circuit_breaker if provider is not None else None,
        rows=[row for row in shown if row.provider == name],
        can_login=name in known.logins,
        takes_keys=name in known.keys,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
