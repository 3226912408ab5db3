"""What endpoints share, and the requests in flight."""

from __future__ import annotations

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.models.pricing import Prices
from proxy_core.models.routing import Router
from proxy_core.pipeline.accounting import Accounting
from proxy_core.pipeline.executor import Executor
from proxy_core.pipeline.observe import Observers
from proxy_core.plugins.faults import Faults
from proxy_core.records.recent import RecentRequests
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import SecretScrubber
from proxy_core.server.auth import ClientKeys
from proxy_core.server.interrupt import Interruptible, ServerStopping
from proxy_core.settings.schema import StreamSettings, TimeoutSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.kept import KeptValues
from proxy_core.state.usage import UsageBook


class Running(Struct, kw_only=True):
    """Requests in flight of one generation, so that they can be ended; ``all``: those of all generations."""

    scopes: set[Interruptible] = field(default_factory=set)
    all: set[Interruptible] = field(default_factory=set)

    def began(self, scope: Interruptible) -> None:
        self.scopes.add(scope)
        self.all.add(scope)

    def ended(self, scope: Interruptible) -> None:
        self.scopes.discard(scope)
        self.all.discard(scope)

    def interrupt(self, reason: ServerStopping | None = None) -> None:
        for scope in list(self.scopes):
            scope.interrupt(reason or ServerStopping())


class Services(Struct, frozen=True, kw_only=True):
    """What every endpoint needs."""

    keys: ClientKeys
    router: Router
    pipeline: Executor
    accounting: Accounting
    observers: Observers
    budgets: Budgets
    usage: UsageBook
    prices: Prices
    recorder: Recorder | None
    scrub: SecretScrubber
    faults: Faults
    clock: Clock
    max_body_bytes: int
    response_headers: bool
    recent: RecentRequests
    kept: KeptValues
    streams: StreamSettings
    timeouts: TimeoutSettings
    running: Running = field(default_factory=Running)
