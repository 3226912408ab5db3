"""Counts finished requests: a few additions in memory, after the response has been sent."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from proxy_core.interfaces import AttemptCount, Histogram, LatencyCount, RequestCount, RequestRecord
from proxy_core.messages import Usage

#: Clients choose model names, so the number that are counted by name is bounded.
MAX_MODELS = 200
OTHER = "other"

#: Upper bounds in seconds: of durations that include the upstream's, and of the proxy's own.
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

#: Client, dialect, provider and model, status, outcome, stream.
_Group = tuple[str, str, tuple[str, str], int, str, bool]


class _Buckets:
    """A histogram being filled."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def read(self) -> Histogram:
        return Histogram(bounds=self.bounds, counts=tuple(self.counts), sum=self.sum)


class _Latency:
    """Durations of the requests for one dialect and provider, streamed or not."""

    __slots__ = ("duration", "first_event", "overhead")

    def __init__(self) -> None:
        self.duration = _Buckets(SLOW)
        self.first_event = _Buckets(SLOW)
        self.overhead = _Buckets(FAST)


class _Row:
    """Totals of requests with the same labels; their durations are shared with other rows."""

    __slots__ = ("latency", "requests", "tokens")

    def __init__(self, latency: _Latency) -> None:
        self.requests = 0
        self.latency = latency
        self.tokens: list[int] | None = None


class Counters:
    """The counters of one process since it started.

    A model is counted under its own name if settings name it, or after its first response (for the first
    ``max_models`` of these). Names that a client made up are counted as ``other``.
    """

    def __init__(self, deployments: Iterable[str] = (), max_models: int = MAX_MODELS) -> None:
        self._names = {deployment: _split(deployment) for deployment in deployments}
        self._room = max_models
        self._rows: dict[_Group, _Row] = {}
        self._latencies: dict[tuple[str, str, bool], _Latency] = {}
        self._attempts: defaultdict[tuple[str, str | None, int | None], int] = defaultdict(int)

    def know(self, deployments: Iterable[str]) -> None:
        """Add the deployments that settings name now; earlier ones are kept."""
        for deployment in deployments:
            self._names.setdefault(deployment, _split(deployment))

    def finished(self, record: RequestRecord) -> None:
        name, decisive = ("", ""), record.decisive
        for attempt in record.attempts:
            known = self._names.get(attempt.deployment) or self._named(attempt.deployment, attempt.fault is None)
            self._attempts[known[0], attempt.fault, attempt.status] += not attempt.shared
            if attempt is decisive:
                name = known
        group = (record.client, record.dialect, name, record.status, record.outcome, record.stream)
        row = self._rows.get(group) or self._new_row(group)
        row.requests += 1
        latency = row.latency
        latency.duration.add(record.duration_s)
        if record.first_event_s is not None:
            latency.first_event.add(record.first_event_s)
        if record.overhead_s is not None:
            latency.overhead.add(record.overhead_s)
        usage = record.usage
        if usage is not None:
            tokens = row.tokens
            if tokens is None:
                tokens = row.tokens = [0] * 5
            tokens[0] += usage.prompt
            tokens[1] += usage.cached
            tokens[2] += usage.cache_write
            tokens[3] += usage.completion
            tokens[4] += usage.reasoning

    def refused(self, dialect: str, status: int, outcome: str) -> None:
        """A request rejected before it was read: a missing or wrong key, or an invalid body."""
        group = ("", dialect, ("", ""), status, outcome, False)
        row = self._rows.get(group) or self._new_row(group)
        row.requests += 1

    def _new_row(self, group: _Group) -> _Row:
        _, dialect, (provider, _), _, _, stream = group
        latency = self._latencies.setdefault((dialect, provider, stream), _Latency())
        row = self._rows[group] = _Row(latency)
        return row

    def _named(self, deployment: str, succeeded: bool) -> tuple[str, str]:
        provider, model = _split(deployment)
        if not succeeded or not self._room:
            return provider, OTHER
        self._room -= 1
        return self._names.setdefault(deployment, (provider, model))

    # --- Reading -------------------------------------------------------------------------

    def requests(self) -> Sequence[RequestCount]:
        return [
            RequestCount(
                client=client,
                dialect=dialect,
                provider=provider,
                model=model,
                status=status,
                outcome=outcome,
                stream=stream,
                requests=row.requests,
                usage=_usage(row.tokens),
            )
            for (client, dialect, (provider, model), status, outcome, stream), row in self._rows.items()
        ]

    def attempts(self) -> Sequence[AttemptCount]:
        return [
            AttemptCount(provider=provider, fault=fault, status=status, attempts=n)
            for (provider, fault, status), n in self._attempts.items()
        ]

    def latencies(self) -> Sequence[LatencyCount]:
        return [
            LatencyCount(
                dialect=dialect,
                provider=provider,
                stream=stream,
                duration=latency.duration.read(),
                first_event=latency.first_event.read(),
                overhead=latency.overhead.read(),
            )
            for (dialect, provider, stream), latency in self._latencies.items()
            if any(latency.duration.counts)  # without those that were only rejected
        ]


def _usage(tokens: Sequence[int] | None) -> Usage | None:
    if tokens is None:
        return None
    prompt, cached, cache_write, completion, reasoning = tokens
    return Usage(prompt=prompt, cached=cached, cache_write=cache_write, completion=completion, reasoning=reasoning)


def _split(deployment: str) -> tuple[str, str]:
    provider, _, model = deployment.partition("/")
    return provider, model
