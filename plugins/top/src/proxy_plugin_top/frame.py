"""One picture of one proxy, as lines for a terminal of some width. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Literal

from msgspec import Struct, field
from rich.cells import cell_len

from proxy_core import ProcessStatus, QuotaStatus, RecentRequest
from proxy_plugin_top.accounts import Account, Provider, Tone, ends_at, providers
from proxy_plugin_top.words import at, clean, count, counted, cut, long, money, padded, seconds, shortened, until

Style = Literal["", "bold", "dim", "good", "warn", "bad"]
Line = Sequence[tuple[str, Style]]

#: From this width on, an account is one line.
_WIDE = 110
_BAR = 10
#: From this width on, a request has all its columns.
_TABLE = 90
_MORE = "first   tokens      cost     account        "
_LABEL = 20
#: With more accounts than this, those that need attention come first, and the rest is only counted.
_MANY, _MOST = 20, 100
_NAMED = 3
_MARKS: Mapping[Tone, str] = {"good": "●", "warn": "◐", "bad": "○"}
_INDENT = "    "


class Used(Struct, frozen=True, kw_only=True):
    """Usage of a day (UTC)."""

    requests: int = 0
    failures: int = 0
    tokens: int = 0
    cost: float = 0.0
    priced: int = 0


class Reading(Struct, frozen=True, kw_only=True):
    """What was read of one proxy. ``today`` is ``None`` if only its store did not answer; ``costs`` are today's of
    each credential, by provider and id."""

    statuses: Sequence[ProcessStatus]
    at: datetime
    today: Used | None = None
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict)


def heading(name: str, reading: Reading) -> Iterator[Line]:
    """The proxy, which accounts are used up, what today cost, and its health: a low screen may have room for the first
    lines only."""
    first = reading.statuses[0]
    workers = f", {len(reading.statuses)} workers" if len(reading.statuses) > 1 else ""
    running = f"  {clean(first.version)}, up {long(first.uptime_s)}{workers}"
    flight = sum(status.requests_in_flight for status in reading.statuses)
    yield [(clean(name), "bold"), (running, "dim"), (f", {flight} in flight" if flight else "", "")]
    yield [("accounts ", "dim"), *_summary(providers(reading.statuses, reading.at), reading.at)]
    yield [("today    ", "dim"), *_today(reading.today)]
    for problem in dict.fromkeys(problem for status in reading.statuses for problem in status.health.problems):
        yield [(f"! {clean(problem)}", "warn")]


def _today(today: Used | None) -> Line:
    if today is None:
        return [("not known, because the store does not answer", "warn")]
    unpriced = today.requests - today.priced
    rest = f" ({unpriced} without a known price)" if unpriced and today.requests else ""
    failed = f", {counted(today.failures, 'failed attempt')}" if today.failures else ""
    cost = money(today.cost) if today.cost or not unpriced else "cost unknown"
    return [(cost, "bold"), (f", {count(today.tokens)} tokens, {counted(today.requests, 'request')}{failed}{rest}", "")]


def _summary(found: Sequence[Provider], now: datetime) -> Line:
    every = [account for provider in found for account in provider.accounts]
    out = [account for account in every if account.condition.tone == "bad"]
    if not every:
        return [("none: run `proxy-core init`, or set a provider's key", "warn")]
    if not out:
        partly = sum(account.condition.tone == "warn" for account in every)
        return [(f"all {len(every)} usable", "good"), (f", {partly} of them partly" if partly else "", "warn")]
    named = [_named(account, now) for account in out[:_NAMED]]
    more = f" and {len(out) - len(named)} more" if len(out) > len(named) else ""
    return [(f"{len(every) - len(out)} of {len(every)} usable", "warn"), (f"; {'; '.join(named)}{more}", "bad")]


def _named(account: Account, now: datetime) -> str:
    end = account.condition.until
    return f"{clean(account.label)} {account.condition.words}{f' until {until(end, now)}' if end else ''}"


def accounts(reading: Reading, width: int) -> Iterator[Line]:
    """Every provider with its accounts."""
    for provider in providers(reading.statuses, reading.at):
        waiting = f", {counted(provider.waiting, 'request')} waiting" if provider.waiting else ""
        yield [(clean(provider.name), "bold"), (waiting, "warn")]
        if provider.outage is not None:
            probe = f"next probe {at(provider.outage.next_probe, reading.at)}"
            if provider.outage.next_probe < reading.at:
                probe = "the next request probes it"
            yield [(f"{_INDENT}circuit breaker open, {probe}: ", "bad"), (clean(provider.outage.message), "dim")]
        some = _shown(provider.accounts)
        label = min(_LABEL, max((cell_len(clean(one.label)) for one in some), default=0))
        yield from chain.from_iterable(_account(one, reading, width, label) for one in some)
        if len(provider.accounts) > _MOST:
            yield [(f"{_INDENT}and {len(provider.accounts) - _MOST} more", "dim")]


def _shown(accounts: Sequence[Account]) -> Sequence[Account]:
    order = {"bad": 0, "warn": 1, "good": 2}
    some = accounts if len(accounts) <= _MANY else sorted(accounts, key=lambda one: order[one.condition.tone])
    return some[:_MOST]


def _account(account: Account, reading: Reading, width: int, label: int) -> Iterator[Line]:
    now, condition = reading.at, account.condition
    words = condition.words + (f" until {until(condition.until, now)}" if condition.until else "")
    busy = f", {account.in_flight} in flight" if account.in_flight else ""
    cost = reading.costs.get((account.provider, account.id))
    head: list[tuple[str, Style]] = [
        (f"  {_MARKS[condition.tone]} ", condition.tone),
        (padded(shortened(clean(account.label), label), label), "bold"),
        (f"  {words}", condition.tone),
        (busy, ""),
        (f", {money(cost)} today" if cost else "", ""),
    ]
    quotas: list[Line] = [_quota(quota, now) for quota in account.quotas if quota.resets_at or ends_at(quota, now)]
    column = len(_INDENT)
    if width >= _WIDE and quotas:
        used = sum(cell_len(text) for text, _ in head)
        column = max(used + 2, _WIDE // 2)
        head, quotas = [*head, (" " * (column - used), ""), *quotas[0]], quotas[1:]
    yield head
    yield from ([(" " * column, ""), *quota] for quota in quotas)
    if condition.why:
        yield [(f"{_INDENT}{cut(clean(condition.why), 2 * width)}", "dim")]


def _quota(quota: QuotaStatus, now: datetime) -> Line:
    """``████░░░░░░ 40/100 small, resets 18:00 (2 h), empty at 15:40``."""
    allowed, left = quota.allowed, quota.left
    full = round((1 - left) * _BAR) if left is not None else 0
    tone: Style = "" if left is None else "bad" if left == 0 else "warn" if left < 0.15 or quota.empty_at else "good"
    figures = f"{count(quota.used)}/{count(allowed)}" if allowed is not None else f"{count(quota.used)} used"
    bar = f"{'█' * full}{'░' * (_BAR - full)} " if left is not None else ""
    pace = f", {count(quota.per_hour)}/h" if quota.per_hour >= 1 else ""
    known = quota.resets_at is not None and (allowed is not None or quota.reported)
    resets = f", resets {until(quota.resets_at, now)}" if known and quota.resets_at is not None else ""
    kept = f", the rest kept for {clean(', '.join(quota.reserved_for))}" if quota.reserved_for else ""
    empty = f", empty at {until(quota.empty_at, now)}" if quota.empty_at is not None else ""
    return [(bar, tone), (figures, tone), (f" {cut(clean(quota.name), 30)}", ""), (empty, "warn"), (kept, "warn"),
            (f"{resets}{pace}", "dim")]  # fmt: skip


def requests(reading: Reading, most: int, width: int) -> Iterator[Line]:
    """The newest requests of all processes, the newest first."""
    labels = {
        credential.id: credential.label
        for status in reading.statuses
        for provider in status.providers
        for credential in provider.credentials
    }
    every = sorted(
        chain.from_iterable(status.recent for status in reading.statuses), key=lambda one: one.started_at, reverse=True
    )
    if not every:
        yield [("no request yet", "dim")]
        return
    yield [(f"time     ended    took    {_MORE if width >= _TABLE else ''}client       model", "dim")]
    for request in every[:most]:
        yield _request(request, labels, width)


def _request(one: RecentRequest, labels: Mapping[str, str], width: int) -> Line:
    good = one.outcome == "completed" and one.status < 400
    tone: Style = "good" if good else "bad"
    end = f"{one.status} x{one.attempts}" if one.attempts > 1 else str(one.status)
    error = "" if good else f" {clean(one.error or one.outcome)}"
    tokens = f"{count(one.usage.prompt)}+{count(one.usage.completion)}" if one.usage is not None else "-"
    first = seconds(one.first_event_s)
    cells: list[tuple[str, Style]] = [
        (f"{one.started_at.astimezone():%H:%M:%S} ", "dim"),
        (f"{padded(end, 8)} ", tone),
        (f"{padded(seconds(one.duration_s), 7)} ", ""),
    ]
    if width >= _TABLE:
        cells += [(f"{padded(first, 7)} ", "dim"), (f"{padded(tokens, 11)} ", "")]
        cells += [(f"{padded(money(one.cost) if one.cost is not None else '-', 8)} ", "")]
        cells += [(f"{padded(shortened(clean(labels.get(one.credential or '', '-')), 14), 14)} ", "")]
    served = clean(one.deployment or one.model)
    asked = f" (as {clean(one.model)})" if one.deployment and one.model not in (one.deployment, served) else ""
    return [*cells, (f"{padded(clean(one.client), 12)} ", ""), (served, "bold"), (asked, "dim"), (error, "bad")]


def fitted(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """No line is wider than the terminal."""
    for line in lines:
        room, found = width, list[tuple[str, Style]]()
        for text, style in line:
            if text and room > 0:
                found.append((cut(text, room), style))
                room -= cell_len(found[-1][0])
        yield found


def plain(lines: Iterable[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
