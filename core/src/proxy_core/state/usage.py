"""Counts usage exactly: one row per day, client, credential and model, in memory until a store has it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import AttemptRecord, RequestRecord, UsageRow
from proxy_core.messages import Usage

Key = tuple[date, str, str, str, str]
#: The fields of a row that are summed.
COUNTED = tuple(
    name for name in UsageRow.__struct_fields__ if name not in ("day", "client", "provider", "credential", "model")
)


#: Clients can invent model names, so a process has at most this many rows per day; further models become "other".
MAX_ROWS = 10_000
OTHER = "other"
#: How upstreams answer to a model that they do not have.
_REFUSED = frozenset({400, 403, 404, 422})
_OK = 200


class _Counts(Struct):
    requests: int = 0
    attempts: int = 0
    failures: int = 0
    prompt: int = 0
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0
    cost: float = 0.0
    priced: int = 0

    def add(self, usage: Usage, cost: float | None) -> None:
        self.prompt += usage.prompt
        self.cached += usage.cached
        self.cache_write += usage.cache_write
        self.completion += usage.completion
        self.reasoning += usage.reasoning
        if cost is not None:
            self.cost += cost
            self.priced += 1


class UsageBook:
    """Rows that no store has yet."""

    def __init__(self) -> None:
        self._rows: dict[Key, _Counts] = {}
        self._day = date.min
        self._known: set[Key] = set()

    def count(self, record: RequestRecord, cost: float | None) -> None:
        """Add one finished request to the day on which it began: the request and its tokens to the credential that
        answered or was tried last, each attempt to its own."""
        day, client, decisive = record.started_at.date(), record.client, record.decisive
        row = None
        for attempt in record.attempts:
            tried = self._row(day, client, self._deployment(attempt, day, client), attempt.credential)
            if not attempt.shared:
                tried.attempts += 1
                tried.failures += attempt.fault is not None
            if attempt is decisive:
                row = tried
        if row is None:
            row = self._row(day, client, "", "")
        row.requests += 1
        if record.usage is not None:
            row.add(record.usage, cost)
        elif all(attempt.fault is not None and attempt.status != _OK for attempt in record.attempts):
            row.priced += 1  # no provider answered, so the request cost nothing

    def add_cost(self, record: RequestRecord, cost: float) -> None:
        """Add the cost of a request that was counted before its price was known."""
        answered = record.decisive
        row = self._row(
            record.started_at.date(),
            record.client,
            answered.deployment if answered else "",
            answered.credential if answered else "",
        )
        row.cost += cost
        row.priced += 1

    def _deployment(self, attempt: AttemptRecord, day: date, client: str) -> str:
        """Clients can name anything a model, a key for example: one that was only refused so far is "other"."""
        provider, _, model = attempt.deployment.partition("/")
        known = (day, client, provider, attempt.credential, model) in self._known
        refused = attempt.status in _REFUSED and attempt.fault is not None
        return f"{provider}/{OTHER}" if refused and not known else attempt.deployment

    def _row(self, day: date, client: str, deployment: str, credential: str) -> _Counts:
        provider, _, model = deployment.partition("/")
        key = (day, client, provider, credential, model)
        row = self._rows.get(key)
        if row is None:
            key = self._bounded(key)
            row = self._rows.setdefault(key, _Counts())
        return row

    def _bounded(self, key: Key) -> Key:
        if key[0] > self._day:
            self._day, self._known = key[0], set()
        if key not in self._known:
            if len(self._known) >= MAX_ROWS:
                return (*key[:4], OTHER)
            self._known.add(key)
        return key

    def take(self) -> list[UsageRow]:
        """Take all rows, to put them into a store."""
        rows, self._rows = self._rows, {}
        return [
            UsageRow(
                day=key[0],
                client=key[1],
                provider=key[2],
                credential=key[3],
                model=key[4],
                **{name: getattr(counts, name) for name in COUNTED},
            )
            for key, counts in rows.items()
            if counts.requests or counts.attempts or counts.priced
        ]


def summed(rows: Iterable[UsageRow], by: Iterable[str]) -> list[tuple[tuple[object, ...], UsageRow]]:
    """Rows summed by some of ``day``, ``client``, ``provider``, ``credential``, ``model``, and sorted by these."""
    names = tuple(by)
    totals: dict[tuple[object, ...], UsageRow] = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in names)
        before = totals.get(key)
        totals[key] = row if before is None else added(before, row)
    return sorted(totals.items(), key=lambda item: tuple(map(str, item[0])))


def added(one: UsageRow, other: UsageRow) -> UsageRow:
    return replace(one, **{name: getattr(one, name) + getattr(other, name) for name in COUNTED})
