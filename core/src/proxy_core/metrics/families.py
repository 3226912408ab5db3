"""Every metric: its name, what it means, its labels. What is counted is elsewhere; this is what a page has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: Name of a metric to its samples: the labels' values, and a number. Of a histogram instead the
#: count of each bucket (the last one without a bound) and then the sum.
Samples = Mapping[str, Sequence[tuple[Sequence[str], Any]]]

FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``bounds`` are a histogram's."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_PLUGIN = ("plugin", "role", "name")

FAMILIES: Mapping[str, Family] = {
    "proxy_core_requests_total": Family(
        "counter", "Requests that ended.", ("client", "dialect", "provider", "model", "status", "outcome")
    ),
    "proxy_core_attempts_total": Family("counter", "Tries at providers.", ("provider",)),
    "proxy_core_attempt_failures_total": Family(
        "counter", "Tries that failed: who must act, and the upstream's status.", ("provider", "fault", "status")
    ),
    "proxy_core_tokens_total": Family(
        "counter",
        "Tokens. prompt includes cached, completion includes reasoning.",
        ("client", "provider", "model", "kind"),
    ),
    "proxy_core_request_duration_seconds": Family(
        "histogram", "From the request's first byte to the reply's last.", ("provider", "stream"), SLOW
    ),
    "proxy_core_first_event_seconds": Family(
        "histogram", "From the request's first byte to the upstream's first event.", ("provider", "stream"), SLOW
    ),
    "proxy_core_overhead_seconds": Family(
        "histogram",
        "What the proxy itself takes until the reply's first byte, waiting for others excluded.",
        ("dialect", "stream"),
        FAST,
    ),
    "proxy_core_plugin_seconds_total": Family("counter", "Time spent in plugins' functions.", _PLUGIN),
    "proxy_core_plugin_calls_total": Family("counter", "Calls of plugins' functions.", _PLUGIN),
    "proxy_core_requests_in_flight": Family("gauge", "Requests that have not ended."),
    "proxy_core_leases": Family("gauge", "Credentials at work.", ("provider",)),
    "proxy_core_credentials": Family("gauge", "Credentials there are.", ("provider",)),
    "proxy_core_resting_credentials": Family(
        "gauge", "Credentials that rest: altogether, or for some model only.", ("provider", "scope")
    ),
    "proxy_core_provider_outage": Family("gauge", "1 while a provider rests as a whole.", ("provider",)),
    "proxy_core_dropped_total": Family("counter", "What was not kept because its queue was full.", ("what",)),
    "proxy_core_kept_away_failures_total": Family("counter", "Failures of plugins that no client noticed.", ("role",)),
    "proxy_core_start_time_seconds": Family("gauge", "When this process started, since the epoch."),
    "proxy_core_build_info": Family("gauge", "Always 1; its labels say what runs.", ("version", "python")),
}
