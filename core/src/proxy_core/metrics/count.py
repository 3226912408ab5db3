"""Counting finished requests: a few additions to numbers in memory, after the reply has left."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable

from proxy_core.interfaces import RequestRecord
from proxy_core.metrics.families import FAST, SLOW, Samples

#: Clients choose models, so what gets a label of its own is bounded.
MAX_MODELS = 200
OTHER = "other"

_KINDS = ("prompt", "cached", "cache_write", "completion", "reasoning")
_SLOW_ROW = [0.0] * (len(SLOW) + 2)
_FAST_ROW = [0.0] * (len(FAST) + 2)

#: Client, dialect, provider and model, status, outcome, stream.
_Group = tuple[str, str, tuple[str, str], int, str, bool]


class _Row:
    """What requests that are alike add up to. Histograms count by bucket, their sum is last."""

    __slots__ = ("duration", "first_event", "overhead", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = 0
        self.duration = _SLOW_ROW[:]
        self.first_event = _SLOW_ROW[:]
        self.overhead = _FAST_ROW[:]
        self.tokens: list[int] | None = None


class Counts:
    """Of one process, since it started.

    A model has a label of its own if settings name it, or once it has answered (the first
    ``MAX_MODELS`` of those): names that a client made up count as ``other``.
    """

    def __init__(self, deployments: Iterable[str] = ()) -> None:
        self._names = {deployment: _parted(deployment) for deployment in deployments}
        self._room = MAX_MODELS
        self._rows: dict[_Group, _Row] = {}
        self._attempts: defaultdict[tuple[str, str | None, int | None], int] = defaultdict(int)

    def know(self, deployments: Iterable[str]) -> None:
        """Settings name more of them now."""
        for deployment in deployments:
            self._names.setdefault(deployment, _parted(deployment))

    def finished(self, record: RequestRecord) -> None:
        name, decisive = ("", ""), record.decisive
        for attempt in record.attempts:
            known = self._names.get(attempt.deployment) or self._named(attempt.deployment, attempt.fault is None)
            self._attempts[known[0], attempt.fault, attempt.status] += not attempt.shared
            if attempt is decisive:
                name = known
        group = (record.client, record.dialect, name, record.status, record.outcome, record.stream)
        row = self._rows.get(group)
        if row is None:
            row = self._rows[group] = _Row()
        row.requests += 1
        _add(row.duration, SLOW, record.duration_s)
        if record.first_event_s is not None:
            _add(row.first_event, SLOW, record.first_event_s)
        if record.overhead_s is not None:
            _add(row.overhead, FAST, record.overhead_s)
        usage = record.usage
        if usage is not None:
            tokens = row.tokens
            if tokens is None:
                tokens = row.tokens = [0] * len(_KINDS)
            tokens[0] += usage.prompt
            tokens[1] += usage.cached
            tokens[2] += usage.cache_write
            tokens[3] += usage.completion
            tokens[4] += usage.reasoning

    def refused(self, dialect: str, status: int, outcome: str) -> None:
        """A request that was not even read: no key, a wrong one, a body that is none."""
        self._rows.setdefault(("", dialect, ("", ""), status, outcome, False), _Row()).requests += 1

    def _named(self, deployment: str, answered: bool) -> tuple[str, str]:
        provider, model = _parted(deployment)
        if not answered or not self._room:
            return provider, OTHER
        self._room -= 1
        return self._names.setdefault(deployment, (provider, model))

    def samples(self) -> Samples:
        """What was counted, by the labels of each metric."""
        requests: defaultdict[tuple[str, ...], int] = defaultdict(int)
        tokens: dict[tuple[str, ...], list[int]] = {}
        duration, first_event, overhead = _Histogram(), _Histogram(), _Histogram()
        for (client, dialect, (provider, model), status, outcome, stream), row in self._rows.items():
            requests[client, dialect, provider, model, f"{status // 100}xx", outcome] += row.requests
            flowing = "true" if stream else "false"
            duration.add((provider, flowing), row.duration)
            first_event.add((provider, flowing), row.first_event)
            overhead.add((dialect, flowing), row.overhead)
            if row.tokens is not None:
                known = tokens.get((client, provider, model), [0] * len(_KINDS))
                tokens[client, provider, model] = [a + b for a, b in zip(known, row.tokens, strict=True)]
        return {
            "proxy_core_requests_total": list(requests.items()),
            "proxy_core_tokens_total": [
                ((*labels, kind), n) for labels, row in tokens.items() for kind, n in zip(_KINDS, row, strict=True)
            ],
            "proxy_core_request_duration_seconds": duration.samples(),
            "proxy_core_first_event_seconds": first_event.samples(),
            "proxy_core_overhead_seconds": overhead.samples(),
            **self._tries(),
        }

    def _tries(self) -> Samples:
        tried: defaultdict[tuple[str, ...], int] = defaultdict(int)
        failed: dict[tuple[str, ...], int] = {}
        for (provider, fault, status), n in self._attempts.items():
            tried[(provider,)] += n
            if fault is not None:
                failed[provider, fault, str(status or "")] = n
        return {
            "proxy_core_attempts_total": list(tried.items()),
            "proxy_core_attempt_failures_total": list(failed.items()),
        }


class _Histogram:
    """Rows of the same labels, added up."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], list[float]] = {}

    def add(self, labels: tuple[str, ...], row: list[float]) -> None:
        known = self._rows.get(labels)
        self._rows[labels] = row[:] if known is None else [a + b for a, b in zip(known, row, strict=True)]

    def samples(self) -> list[tuple[tuple[str, ...], list[float]]]:
        return [(labels, row) for labels, row in self._rows.items() if any(row)]


def _add(row: list[float], bounds: tuple[float, ...], value: float) -> None:
    row[bisect_left(bounds, value)] += 1
    row[-1] += value


def _parted(deployment: str) -> tuple[str, str]:
    provider, _, model = deployment.partition("/")
    return provider, model
