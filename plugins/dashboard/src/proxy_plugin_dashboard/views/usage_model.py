"""What the page of usage shows: by day, and by client, provider, account or model; and the same as CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct, convert, field

from proxy_plugin_dashboard.charts import Chart, Point, columns
from proxy_plugin_dashboard.words import count, money

#: Days, and how the page calls them.
RANGES: Mapping[str, tuple[int, str]] = {
    "today": (1, "Today"),
    "7d": (7, "7 days"),
    "30d": (30, "30 days"),
    "90d": (90, "90 days"),
    "365d": (365, "a year"),
}
#: What the table can be about: a field of the usage, and its word.
BY: Mapping[str, str] = {
    "model": "Model",
    "provider": "Provider",
    "credential": "Account",
    "client": "Client",
    "day": "Day",
}
PER_PAGE = 100
#: As in ``GET /admin/requests``: an exponent of this, in milliseconds.
_STEP = 1.1
#: Of a cost in dollars. Sums of binary fractions have more, which mean nothing.
_DECIMALS = 9


class Counts(Struct, frozen=True, kw_only=True):
    """A row of ``GET /admin/usage``, or a sum of some. ``failures`` are those among the attempts."""

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

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in COUNTED})

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    @property
    def unpriced(self) -> int:
        """Requests that were answered without a known price."""
        return max(0, self.requests - self.priced)


COUNTED = Counts.__struct_fields__


class Times(Struct, frozen=True, kw_only=True):
    """How long the requests in the history took, that were answered; ``None`` where there is none."""

    requests: int = 0
    first_p50: float | None = None
    first_p95: float | None = None
    p50: float | None = None
    p95: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    """``key`` as it is stored, ``name`` as it is shown."""

    key: str
    name: str
    counts: Counts
    times: Times


class UsageModel(Struct, frozen=True, kw_only=True):
    today: Counts
    yesterday: Counts
    total: Counts
    range: str
    by: str
    since: date
    until: date
    charts: Sequence[Chart]
    days: Sequence[Row]
    rows: Sequence[Row]
    more: int
    client: str


class Asked(Struct, frozen=True, kw_only=True):
    """What the page is about, from its query."""

    range: str
    by: str
    client: str
    since: date
    until: date


def asked_for(query: Mapping[str, str], today: date) -> Asked:
    chosen = query.get("range", "7d") if query.get("range", "7d") in RANGES else "7d"
    return Asked(
        range=chosen,
        by=query.get("by", "model") if query.get("by", "model") in BY else "model",
        client=query.get("client", "").strip(),
        since=today - timedelta(days=RANGES[chosen][0] - 1),
        until=today,
    )


def usage_model(
    asked: Asked,
    rows: Iterable[Mapping[str, Any]],
    groups: Iterable[Mapping[str, Any]],
    names: Mapping[str, str],
) -> UsageModel:
    """``rows`` of ``GET /admin/usage`` by day, client and ``asked.by``; ``groups`` of ``GET /admin/requests``.

    ``names``: of accounts, by fingerprint.
    """
    chosen = [row for row in rows if asked.client in ("", row["client"])]
    by_day = _summed(chosen, "day")
    by_key = by_day if asked.by == "day" else _summed(chosen, asked.by)
    times = times_by(group for group in groups if asked.client in ("", group["client"]))
    table = [_row(key, counts, asked.by, names, times) for key, counts in by_key.items()]
    table.sort(key=lambda row: _order(row, asked.by), reverse=True)
    days = [asked.since + timedelta(days=n) for n in range((asked.until - asked.since).days + 1)]
    figures = [(day, by_day.get(day.isoformat(), Counts())) for day in days]
    return UsageModel(
        today=by_day.get(asked.until.isoformat(), Counts()),
        yesterday=by_day.get((asked.until - timedelta(days=1)).isoformat(), Counts()),
        total=sum(by_day.values(), Counts()),
        range=asked.range,
        by=asked.by,
        since=asked.since,
        until=asked.until,
        charts=_charts(figures),
        days=[_row(day.isoformat(), counts, "day", {}, {}) for day, counts in reversed(figures)],
        rows=table[:PER_PAGE],
        more=max(0, len(table) - PER_PAGE),
        client=asked.client,
    )


def _order(row: Row, by: str) -> tuple[Any, ...]:
    return (row.key,) if by == "day" else (row.counts.cost, row.counts.tokens, row.counts.requests, row.key)


def _summed(rows: Iterable[Mapping[str, Any]], by: str) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for row in rows:
        counts = convert({name: row[name] for name in COUNTED}, Counts)
        found[row[by]] = found[row[by]] + counts if row[by] in found else counts
    return found


def _row(key: str, counts: Counts, by: str, names: Mapping[str, str], times: Mapping[str, Times]) -> Row:
    name = names.get(key, key) if by == "credential" else key
    return Row(key=key, name=name or "without an attempt", counts=counts, times=times.get(key, Times()))


def _charts(figures: Sequence[tuple[date, Counts]]) -> Sequence[Chart]:
    def points(value: Callable[[Counts], float], part: Callable[[Counts], float] = lambda counts: 0.0) -> list[Point]:
        return [Point(label=f"{day.day} {day:%b}", value=value(counts), part=part(counts)) for day, counts in figures]

    def dollars(value: float) -> str:
        return f"${value:.3g}" if value < 1 else money(value)

    def whole(value: float) -> str:  # half a request is no mark on an axis
        return count(value) if value == int(value) else ""

    return [
        columns("Cost", points(lambda counts: counts.cost), dollars),
        columns("Requests", points(lambda counts: counts.requests), whole),
        columns("Tokens", points(lambda counts: counts.tokens), whole),
        columns("Attempts", points(lambda each: each.attempts, lambda each: each.failures), whole, part="failed"),
    ]


# --- How long requests took --------------------------------------------------------------


class _Durations(Struct, kw_only=True):
    requests: int = 0
    durations: dict[int, int] = field(default_factory=dict)
    first_events: dict[int, int] = field(default_factory=dict)
    longest_s: float = 0.0
    longest_first_event_s: float = 0.0


def times_by(groups: Iterable[Mapping[str, Any]]) -> Mapping[str, Times]:
    """By the last key of each group, which is what the table is about; of all processes together."""
    added: dict[str, _Durations] = {}
    for group in groups:
        each = added.setdefault(group["key"], _Durations())
        each.requests += group["requests"]
        each.longest_s = max(each.longest_s, group["longest_s"])
        each.longest_first_event_s = max(each.longest_first_event_s, group["longest_first_event_s"])
        for total, counted in ((each.durations, group["durations"]), (each.first_events, group["first_events"])):
            for step, number in counted.items():
                total[int(step)] = total.get(int(step), 0) + number
    return {key: _times(each) for key, each in added.items()}


def _times(each: _Durations) -> Times:
    return Times(
        requests=each.requests,
        first_p50=percentile(each.first_events, 0.5, each.longest_first_event_s),
        first_p95=percentile(each.first_events, 0.95, each.longest_first_event_s),
        p50=percentile(each.durations, 0.5, each.longest_s),
        p95=percentile(each.durations, 0.95, each.longest_s),
    )


def percentile(counts: Mapping[int, int], share: float, longest: float) -> float | None:
    """Seconds, within a tenth of the exact ones, and never more than the ``longest``.

    Those of one step are taken to be spread over it evenly.
    """
    total, seen = sum(counts.values()), 0
    for step in sorted(counts):
        if seen + counts[step] >= share * total:
            inside = (share * total - seen) / counts[step]
            return float(min(0.001 * _STEP ** (step - 1 + inside), longest))
        seen += counts[step]
    return None


# --- For spreadsheets --------------------------------------------------------------------


def as_csv(by: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Names that a spreadsheet would take for a formula begin with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*by, *COUNTED])
    for row in rows:
        figures = {**row, "cost": round(row["cost"], _DECIMALS)}
        writer.writerow([*(_cell(str(row[name])) for name in by), *(figures[name] for name in COUNTED)])
    return out.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@") or text[:1] in tuple("\t\r\n") else text
