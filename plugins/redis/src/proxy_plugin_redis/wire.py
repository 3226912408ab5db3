"""Turn a sync request into the script's arguments, and the script's result into a sync response. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from proxy_core import SharedValue, SyncRequest, SyncResponse, UsageRow

#: Dollars are stored as whole billionths, so that sums are exact; a row can hold nine billion dollars.
NANO = 1_000_000_000
_FIGURES = (
    *("requests", "attempts", "failures", "prompt", "cached", "cache_write", "completion", "reasoning"),
    "priced",
)
_COST = "cost_nano"

#: In the order of the script's ``KEYS``.
_KEYS = (
    *("meta", "pushed", "heard", "alive", "claims", "claimed_by"),
    *("notes", "note_log", "note_keep", "counts", "count_log", "count_keep", "days"),
)

Argument = str | bytes | int


class Keys(Struct, frozen=True):
    """Key names in the store. The prefix is a hash tag: in a cluster, all keys share one slot."""

    prefix: str

    def __call__(self, name: str) -> str:
        return f"{{{self.prefix}}}:{name}"

    def usage(self, day: date) -> str:
        return self(f"usage:{day.isoformat()}")

    def kept(self, owner: str) -> tuple[str, str]:
        """An owner's values, and when they expire."""
        return self(f"kept:{owner}"), self(f"kept_until:{owner}")

    def of(self, request: SyncRequest) -> list[str]:
        return [*map(self, _KEYS), *map(self.usage, _days(request.usage))]


def arguments(request: SyncRequest, *, clock: float, known: str, fresh: bool) -> list[Argument]:
    """``ARGV`` of the script: a head, then sections, each preceded by its length."""
    days, permits = _days(request.usage), request.permits
    usage = [(days.index(row.day) + 1, *figure) for row in request.usage for figure in _figures(row)]
    return [
        quote(request.holder, safe=""),
        request.number,
        request.seen,
        repr(_finite(request.lives_s)),
        repr(clock),
        known,
        int(fresh),
        *_section(_value(name, shared) for name, shared in request.values.items()),
        *_section((name, repr(_finite(c.add)), repr(_instant(c.expires_at))) for name, c in request.counts.items()),
        *_section((name, max(permit.want, 0), permit.limit, max(permit.used, 0)) for name, permit in permits.items()),
        *_section((day.toordinal(), day.isoformat()) for day in days),
        *_section(usage),
    ]


def sync_response(result: Sequence[Any], permits: Iterable[str]) -> SyncResponse:
    """Read the script's result: ``1``, the base, a cursor, the number of holders, and three flat lists."""
    _, _, cursor, holders, values, counts, held = result
    return SyncResponse(
        cursor=int(cursor),
        values={
            name.decode(): SharedValue(value=value if sign == b"+" else None, expires_at=float(expires))
            for name, expires, sign, value in zip(*[iter(values)] * 4, strict=True)
        },
        counts={name.decode(): float(total) for name, total in zip(*[iter(counts)] * 2, strict=True)},
        held=dict(zip(permits, map(int, held), strict=True)),
        holders=int(holders),
    )


def rows(day: date, figures: Mapping[str, int]) -> list[UsageRow]:
    """The rows of one day, sorted by name. ``figures`` are the fields of its hash; unknown ones are skipped."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for name, value in figures.items():
        row, _, figure = name.rpartition(" ")
        found.setdefault(tuple(json.loads(row)), {})[figure] = value
    return [_row(day, row, found[row]) for row in sorted(found)]


def _section(items: Iterable[tuple[Argument, ...]]) -> list[Argument]:
    listed = list(items)
    return [len(listed), *(argument for item in listed for argument in item)]


def _value(name: str, shared: SharedValue) -> tuple[Argument, ...]:
    return name, repr(_instant(shared.expires_at)), "-" if shared.value is None else "+", shared.value or b""


def _days(usage: Sequence[UsageRow]) -> list[date]:
    return sorted({row.day for row in usage})


def _figures(row: UsageRow) -> list[tuple[str, int]]:
    name = json.dumps([row.client, row.provider, row.credential, row.model])
    figures = [(figure, int(getattr(row, figure))) for figure in _FIGURES]
    figures.append((_COST, round(_finite(row.cost) * NANO)))
    # ``requests`` is written even if it is 0, so that the row exists.
    return [(f"{name} {figure}", value) for figure, value in figures if value or figure == "requests"]


def _row(day: date, names: Sequence[str], figures: Mapping[str, int]) -> UsageRow:
    client, provider, credential, model = names
    return UsageRow(
        day=day,
        client=client,
        provider=provider,
        credential=credential,
        model=model,
        cost=figures.get(_COST, 0) / NANO,
        **{figure: figures[figure] for figure in _FIGURES if figure in figures},
    )


def _finite(value: float) -> float:
    """Keep infinities and NaN from the script, which must not stop halfway on a value it cannot read."""
    return value if math.isfinite(value) else 0.0


def _instant(value: float) -> float:
    return 0.0 if math.isnan(value) else value
