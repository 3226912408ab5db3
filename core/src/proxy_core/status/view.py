"""Reads the status of a running process: for metrics, ``/readyz``, pages and terminals."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from proxy_core.clock import Clock
from proxy_core.credentials.refresher import Refresher
from proxy_core.interfaces import (
    Health,
    PluginStatus,
    ProcessStatus,
    QueueStatus,
    RequestRecord,
)
from proxy_core.plugins.registry import Catalog
from proxy_core.plugins.watched import PluginWatch
from proxy_core.records.log import dropped_lines, waiting_lines
from proxy_core.records.recent import RecentRequests
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction
from proxy_core.records.search import brief
from proxy_core.rotation.pool import Pool
from proxy_core.state.shared import SharedState
from proxy_core.status.counters import Counters
from proxy_core.status.providers import provider_status
from proxy_core.version import VERSION

#: The number of recent requests in a status.
MAX_RECENT = 100


class Worker(Struct, frozen=True, kw_only=True):
    """Which of a program's processes this is. ``parent`` is the process that started its workers."""

    number: int = 1
    parent: int | None = None


class ObserverQueue(Protocol):
    """The number of records waiting for observers, and of those dropped or failed."""

    @property
    def waiting(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def failures(self) -> int: ...


class StatusView(Struct, frozen=True, kw_only=True):
    """Everything that a status is read from. Reading changes nothing and awaits nothing."""

    clock: Clock
    worker: Worker
    started_at: datetime
    catalog: Catalog
    pools: Mapping[str, Pool]
    state: SharedState
    refresher: Refresher
    observers: ObserverQueue
    recorder: Recorder | None
    redaction: Redaction
    clean: Callable[[str], str]
    recent: RecentRequests
    cost_of: Callable[[RequestRecord], float | None]
    counters: Counters
    watch: PluginWatch
    in_flight: Callable[[], int]
    url: Callable[[], str]
    warnings: Sequence[str]
    #: What was dropped and what failed under earlier generations.
    lost_before: Counter[str]

    def read(self, *, credentials: bool = True) -> ProcessStatus:
        """The current status; without ``credentials`` it has only their counts, which is cheaper."""
        lost = self.lost()
        return ProcessStatus(
            version=VERSION,
            python=platform.python_version(),
            process=os.getpid(),
            worker=self.worker.number,
            parent=self.worker.parent,
            taken_at=self.clock.now(),
            started_at=self.started_at,
            health=self._health_now(),
            warnings=tuple(self.warnings),
            requests_in_flight=self.in_flight(),
            providers=[
                provider_status(
                    self.catalog.providers[name],
                    self.catalog.owner("proxy_providers", name),
                    pool,
                    credentials=credentials,
                    clean=self.clean,
                )
                for name, pool in self.pools.items()
            ],
            plugins=self._plugins(),
            store=self.state.status(),
            queues=self._queues(lost),
            failures={"observer": lost["observer"], "redactor": lost["redactor"]},
            requests=self.counters.requests(),
            attempts=self.counters.attempts(),
            latencies=self.counters.latencies(),
            plugin_times=self.watch.read(),
            recent=[brief(record, self.cost_of(record), self.clean) for record in self.recent.newest(MAX_RECENT)],
            url=self.url(),
        )

    def health(self) -> Health:
        """Whether the proxy can serve anything, and what does not work as it should."""
        problems = [f"plugin {p.name}: {p.state}" for p in self.catalog.plugins if p.state == "skipped"]
        problems += [f"{provider}: a credential needs a new login" for provider in self.refresher.ended]
        if self.state.problem is not None:
            problems.append(f"state store: {self.state.problem}")
        if not any(len(pool) for pool in self.pools.values()):
            return Health(state="unavailable", problems=(*problems, "no provider has a credential"))
        return Health(state="degraded" if problems else "ok", problems=tuple(problems))

    def _health_now(self) -> Health:
        """With what upstreams cause as well, which is no reason to send clients to another process."""
        health = self.health()
        out = [name for name, pool in self.pools.items() if pool.ledger.outage is not None]
        problems = [f"{name}: its requests fail, so its circuit breaker is open" for name in out]
        state = "degraded" if problems and health.state == "ok" else health.state
        return Health(state=state, problems=(*health.problems, *problems))

    def lost(self) -> Counter[str]:
        """What was dropped and what failed unnoticed by clients, since the process started."""
        return self.lost_before + self.lost_now()

    def lost_now(self) -> Counter[str]:
        """The same, for the current generation only."""
        return Counter(
            records=self.recorder.lost if self.recorder is not None else 0,
            observer_records=self.observers.dropped,
            observer=self.observers.failures,
            redactor=self.redaction.failures,
        )

    def _queues(self, lost: Counter[str]) -> list[QueueStatus]:
        recorder = self.recorder
        return [
            QueueStatus(
                name="records", waiting=recorder.waiting if recorder is not None else 0, dropped=lost["records"]
            ),
            QueueStatus(name="log_lines", waiting=waiting_lines(), dropped=dropped_lines()),
            QueueStatus(name="observer_records", waiting=self.observers.waiting, dropped=lost["observer_records"]),
        ]

    def _plugins(self) -> list[PluginStatus]:
        return [
            PluginStatus(
                name=plugin.name,
                version=plugin.version,
                distribution=plugin.distribution,
                state=plugin.state,
                reason=plugin.reason,
                hooks=tuple(plugin.hooks),
                load_s=plugin.load_s,
            )
            for plugin in self.catalog.plugins
        ]
