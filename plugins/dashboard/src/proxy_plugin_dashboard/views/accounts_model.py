"""What the page of accounts shows: every provider's credentials, from the statuses of all workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import CooldownStatus, CredentialStatus, ProcessStatus, ProviderStatus, QuotaStatus
from proxy_plugin_dashboard.views.standing import Bar, Standing, Tone, bar_of, standing

PER_PAGE = 50
#: Choices of the filter, and the tones of the rows that each shows.
FILTERS: Mapping[str, tuple[str, tuple[Tone, ...]]] = {
    "": ("All", ("good", "part", "warn", "bad", "calm")),
    "usable": ("Usable", ("good", "part")),
    "waiting": ("Cannot be used now", ("warn",)),
    "act": ("Needs you", ("bad",)),
    "off": ("Disabled", ("calm",)),
}
_KINDS = {"api_key": "API key", "none": "no key"}
#: The summary names this many accounts that cannot be used.
_NAMED = 3
_SOON = timedelta(days=1)


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
    """Usage since 00:00 UTC. ``cost`` is in US dollars; ``unpriced`` requests have no known price."""

    requests: int
    cost: float
    unpriced: int


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


def _rows(name: str, providers: Mapping[str, ProviderStatus], known: Known, now: datetime) -> Iterable[Row]:
    lent = providers[name].credentials if name in providers else ()
    for credential in lent:
        yield _row(providers[name], credential, known, now)
    ids = {credential.id for credential in lent}
    yield from (_unlent(one, known) for one in known.credentials if one.provider == name and one.id not in ids)


def _row(of: ProviderStatus, credential: CredentialStatus, known: Known, now: datetime) -> Row:
    provider = of.name
    bars = [bar_of(quota, now) for quota in sorted(credential.quotas, key=lambda quota: quota.name)]
    stands = standing(credential, bars, now, of.circuit_breaker)
    cooldown, there = credential.cooldown, known.by_id.get((provider, credential.id))
    return Row(
        provider=provider,
        id=credential.id,
        label=credential.label,
        kind=credential.kind,
        tier=credential.tier,
        tone=stands.tone,
        words=stands.words,
        why=stands.why,
        until=stands.until,
        without=stands.without,
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


def standing_of(statuses: Sequence[ProcessStatus], provider: str, credential: str) -> Standing | None:
    """Of one credential; ``None`` if it is not lent."""
    now, found = max(status.taken_at for status in statuses), merged_providers(statuses).get(provider)
    ours = [one for one in found.credentials if one.id == credential] if found is not None else []
    if found is None or not ours:
        return None
    return standing(ours[0], [bar_of(quota, now) for quota in ours[0].quotas], now, found.circuit_breaker)


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
