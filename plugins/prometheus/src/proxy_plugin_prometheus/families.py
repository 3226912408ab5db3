"""Every metric: its name, help text and labels, and how to read it from a process's status. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from msgspec import Struct

from proxy_core import Histogram, LatencyCount, ProcessStatus

Labels = tuple[str, ...]
#: A number, or a histogram's buckets.
Value = float | Histogram
#: The value of each label, and the number that belongs to them.
Samples = Iterable[tuple[Labels, Value]]


class Family(Struct, frozen=True, kw_only=True):
    """One metric."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    samples: Callable[[ProcessStatus], Samples]


def _requests(status: ProcessStatus) -> Samples:
    counts: defaultdict[Labels, int] = defaultdict(int)
    for r in status.requests:
        counts[r.client, r.dialect, r.provider, r.model, f"{r.status // 100}xx", r.outcome] += r.requests
    return counts.items()


def _attempts(status: ProcessStatus) -> Samples:
    counts: defaultdict[Labels, int] = defaultdict(int)
    for a in status.attempts:
        counts[(a.provider,)] += a.attempts
    return counts.items()


def _attempt_failures(status: ProcessStatus) -> Samples:
    return [((a.provider, a.fault, str(a.status or "")), a.attempts) for a in status.attempts if a.fault is not None]


def _tokens(status: ProcessStatus) -> Samples:
    counts: defaultdict[Labels, int] = defaultdict(int)
    for r in status.requests:
        if r.usage is not None:
            for kind in ("prompt", "cached", "cache_write", "completion", "reasoning"):
                counts[r.client, r.provider, r.model, kind] += getattr(r.usage, kind)
    return counts.items()


def _latencies(
    labels: Callable[[LatencyCount], Labels], histogram: Callable[[LatencyCount], Histogram]
) -> Callable[[ProcessStatus], Samples]:
    """Add up the histograms that have the same labels; omit empty ones."""

    def samples(status: ProcessStatus) -> Samples:
        found: dict[Labels, Histogram] = {}
        for latency in status.latencies:
            one, name = histogram(latency), labels(latency)
            if any(one.counts):
                found[name] = _added(found[name], one) if name in found else one
        return found.items()

    return samples


def _added(one: Histogram, other: Histogram) -> Histogram:
    counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    return Histogram(bounds=one.bounds, counts=counts, sum=one.sum + other.sum)


def _by_provider(latency: LatencyCount) -> Labels:
    return latency.provider, str(latency.stream).lower()


def _by_dialect(latency: LatencyCount) -> Labels:
    return latency.dialect, str(latency.stream).lower()


def _cooling_down(status: ProcessStatus) -> Samples:
    for provider in status.providers:
        yield (provider.name, "credential"), provider.cooling_down
        yield (provider.name, "model"), provider.partly_cooling_down


def _breaker_open(status: ProcessStatus) -> Samples:
    for provider in status.providers:
        breaker = provider.circuit_breaker
        yield (provider.name,), int(breaker is not None and breaker.until > status.taken_at)


_PLUGIN = ("plugin", "role", "name")

FAMILIES: Mapping[str, Family] = {
    "proxy_core_requests_total": Family(
        kind="counter",
        help="Finished requests.",
        labels=("client", "dialect", "provider", "model", "status", "outcome"),
        samples=_requests,
    ),
    "proxy_core_attempts_total": Family(
        kind="counter", help="Attempts sent to providers.", labels=("provider",), samples=_attempts
    ),
    "proxy_core_attempt_failures_total": Family(
        kind="counter",
        help="Failed attempts, by who is at fault and by the upstream's status.",
        labels=("provider", "fault", "status"),
        samples=_attempt_failures,
    ),
    "proxy_core_tokens_total": Family(
        kind="counter",
        help="Tokens used. prompt includes cached, completion includes reasoning.",
        labels=("client", "provider", "model", "kind"),
        samples=_tokens,
    ),
    "proxy_core_request_duration_seconds": Family(
        kind="histogram",
        help="Time from the request's first byte to the response's last byte.",
        labels=("provider", "stream"),
        samples=_latencies(_by_provider, lambda latency: latency.duration),
    ),
    "proxy_core_first_event_seconds": Family(
        kind="histogram",
        help="Time from the request's first byte to the upstream's first event.",
        labels=("provider", "stream"),
        samples=_latencies(_by_provider, lambda latency: latency.first_event),
    ),
    "proxy_core_overhead_seconds": Family(
        kind="histogram",
        help="The proxy's own time until the response's first byte, excluding time spent waiting.",
        labels=("dialect", "stream"),
        samples=_latencies(_by_dialect, lambda latency: latency.overhead),
    ),
    "proxy_core_plugin_seconds_total": Family(
        kind="counter",
        help="Time spent in plugin functions.",
        labels=_PLUGIN,
        samples=lambda status: [((t.plugin, t.role, t.name), t.seconds) for t in status.plugin_times],
    ),
    "proxy_core_plugin_calls_total": Family(
        kind="counter",
        help="Calls of plugin functions.",
        labels=_PLUGIN,
        samples=lambda status: [((t.plugin, t.role, t.name), t.calls) for t in status.plugin_times],
    ),
    "proxy_core_plugin_failures_total": Family(
        kind="counter",
        help="Calls of plugin functions that raised, or returned something wrong.",
        labels=_PLUGIN,
        samples=lambda status: [((t.plugin, t.role, t.name), t.failures) for t in status.plugin_times],
    ),
    "proxy_core_plugin_breaker_open": Family(
        kind="gauge",
        help="Whether the circuit breaker of a plugin function that is too slow is open.",
        labels=_PLUGIN,
        samples=lambda status: [((t.plugin, t.role, t.name), int(t.breaker != "closed")) for t in status.plugin_times],
    ),
    "proxy_core_requests_in_flight": Family(
        kind="gauge",
        help="Requests in progress.",
        samples=lambda status: [((), status.requests_in_flight)],
    ),
    "proxy_core_leases": Family(
        kind="gauge",
        help="Credentials leased to attempts in progress.",
        labels=("provider",),
        samples=lambda status: [((p.name,), p.in_flight) for p in status.providers],
    ),
    "proxy_core_credentials": Family(
        kind="gauge",
        help="Credentials of a provider.",
        labels=("provider",),
        samples=lambda status: [((p.name,), p.credential_count) for p in status.providers],
    ),
    "proxy_core_credentials_cooling_down": Family(
        kind="gauge",
        help="Credentials cooling down, for every model (scope credential) or only for some (scope model).",
        labels=("provider", "scope"),
        samples=_cooling_down,
    ),
    "proxy_core_circuit_breaker_open": Family(
        kind="gauge", help="1 while a provider's circuit breaker is open.", labels=("provider",), samples=_breaker_open
    ),
    "proxy_core_dropped_total": Family(
        kind="counter",
        help="Items dropped because a queue was full.",
        labels=("what",),
        samples=lambda status: [((q.name,), q.dropped) for q in status.queues],
    ),
    "proxy_core_contained_failures_total": Family(
        kind="counter",
        help="Plugin failures that did not affect any client.",
        labels=("role",),
        samples=lambda status: [((role,), n) for role, n in status.failures.items()],
    ),
    "proxy_core_start_time_seconds": Family(
        kind="gauge",
        help="Start time of this process, in seconds since the epoch.",
        samples=lambda status: [((), status.started_at.timestamp())],
    ),
    "proxy_core_build_info": Family(
        kind="gauge",
        help="Always 1; the labels hold the versions.",
        labels=("version", "python"),
        samples=lambda status: [((status.version, status.python), 1)],
    ),
}
