"""What is now, looked at when somebody asks: leases, rests, requests in flight, what was dropped."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from proxy_core.metrics.families import Samples
from proxy_core.pipeline.observe import Observers
from proxy_core.records.log import dropped_lines
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction
from proxy_core.rotation.pool import Pool
from proxy_core.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Reads memory only."""

    pools: Mapping[str, Pool]
    observers: Observers
    recorder: Recorder | None
    redaction: Redaction
    in_flight: Callable[[], int]
    started_at: float
    #: What was lost and failed under settings that are no longer in force.
    before: Counter[str] = field(default_factory=Counter)

    def lost(self) -> Counter[str]:
        """What went wrong, since the process started."""
        return self.before + Counter(
            records=self.recorder.lost if self.recorder is not None else 0,
            observer_records=self.observers.dropped,
            observer=self.observers.failures,
            redactor=self.redaction.failures,
        )

    def samples(self) -> Samples:
        lost = self.lost()
        named = [((name,), pool) for name, pool in self.pools.items()]
        return {
            "proxy_core_requests_in_flight": [((), self.in_flight())],
            "proxy_core_leases": [(labels, pool.in_flight) for labels, pool in named],
            "proxy_core_credentials": [(labels, len(pool)) for labels, pool in named],
            "proxy_core_resting_credentials": [
                ((name, scope), n) for name, pool in self.pools.items() for scope, n in _resting(pool)
            ],
            "proxy_core_provider_outage": [(labels, int(_outage(pool))) for labels, pool in named],
            "proxy_core_dropped_total": [
                (("records",), lost["records"]),
                (("log_lines",), dropped_lines()),
                (("observer_records",), lost["observer_records"]),
            ],
            "proxy_core_kept_away_failures_total": [
                (("observer",), lost["observer"]),
                (("redactor",), lost["redactor"]),
            ],
            "proxy_core_start_time_seconds": [((), self.started_at)],
            "proxy_core_build_info": [((VERSION, platform.python_version()), 1)],
        }


def _resting(pool: Pool) -> Iterator[tuple[str, int]]:
    """How many rest altogether, and how many of the others for some model."""
    now, slots, lanes = pool.clock.monotonic(), pool.ledger.slots, pool.ledger.lanes.values()
    altogether = {i for i, slot in enumerate(slots) if slot.cooldown is not None and slot.cooldown.until > now}
    for_some = {i for lane in lanes for i, cooldown in lane.cooldowns.items() if cooldown.until > now}
    yield "credential", len(altogether)
    yield "model", len(for_some - altogether)


def _outage(pool: Pool) -> bool:
    outage = pool.ledger.outage
    return outage is not None and outage.until > pool.clock.monotonic()
