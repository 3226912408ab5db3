"""A read-only view of one process of a running proxy, as values: for pages, metrics and terminals.

Nothing in it is a secret: credentials appear as fingerprints and labels. Text that a client or an
upstream chose (model names, messages) is passed on unchanged; a page must escape it before displaying it.
Instants are UTC; ``None`` means unknown or unlimited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from proxy_core.interfaces.requests import Lifecycle
from proxy_core.messages import Usage

__all__ = [
    "AttemptCount",
    "CooldownStatus",
    "CredentialState",
    "CredentialStatus",
    "Health",
    "Histogram",
    "LatencyCount",
    "PluginStatus",
    "PluginTime",
    "ProcessStatus",
    "ProviderStatus",
    "QueueStatus",
    "QuotaStatus",
    "RecentRequest",
    "RequestCount",
    "StoreStatus",
]


class CooldownStatus(Struct, frozen=True, kw_only=True):
    """A cooldown, or an open circuit breaker. It outlasts ``until`` until a probe has succeeded.

    ``message`` is the upstream's own, as redactors leave it, and empty without any; ``failures`` counts those in a row.
    ``kind``: ``rate_limit`` is also a used-up quota; ``refused`` and ``unpaid`` end only when someone acts.
    """

    since: datetime
    until: datetime
    next_probe: datetime
    probing: bool
    failures: int
    code: str
    message: str
    kind: str = ""


class QuotaStatus(Struct, frozen=True, kw_only=True):
    """What one credential has used of one quota: of a model, or of the quota group ``name``. A model that is in
    cooldown by itself has an entry of its own.

    ``used`` and ``limit`` are requests. ``resets_at``: of a sliding window, when one more request is possible or, where
    it is now, when none of those made so far counts any longer. ``reported``: by the provider, not by settings.
    ``cap``: the lowest limit that settings set on it. ``capped_until``: until then a cap from settings is used up.
    ``cooldown``: for this quota alone.

    ``per_hour``: its requests through this proxy, at the pace of the last hour, or since the first one in it.
    ``empty_at``: when ``limit`` or ``cap`` is reached at this pace; ``None``: not before the quota resets, it is
    already, or too little is known. ``reserved_for``: the clients (globs) for which settings keep what is left now.
    """

    name: str
    used: int
    limit: float | None
    resets_at: datetime | None
    reported: bool
    capped_until: datetime | None
    cooldown: CooldownStatus | None
    cap: float | None = None
    per_hour: float = 0.0
    empty_at: datetime | None = None
    reserved_for: Sequence[str] = ()

    @property
    def allowed(self) -> float | None:
        """The requests that the credential may serve until the quota resets; ``None`` if that is not known."""
        return min((most for most in (self.limit, self.cap) if most is not None), default=None)

    @property
    def left(self) -> float | None:
        """The share of ``allowed`` that is left, from 0 to 1."""
        if self.allowed is None:
            return None
        return max(0.0, 1 - self.used / self.allowed) if self.allowed else 0.0


CredentialState = Literal["usable", "busy", "cooling down", "probing", "refreshing", "needs login", "needs setup"]


class CredentialStatus(Struct, frozen=True, kw_only=True):
    """One credential. ``state`` is about every model; a quota of its own may be in cooldown besides.

    ``id`` is its fingerprint; ``note`` says why it is not lent at all. ``expires_at`` is its token's,
    which is refreshed in time if ``refreshable``.
    """

    id: str
    label: str
    kind: str
    tier: str | None
    priority: int
    state: CredentialState
    note: str
    in_flight: int
    max_concurrent: int | None
    last_used_at: datetime | None
    expires_at: datetime | None
    refreshable: bool
    cooldown: CooldownStatus | None
    quotas: Sequence[QuotaStatus]


class ProviderStatus(Struct, frozen=True, kw_only=True):
    """One provider and its credentials.

    ``cooling_down`` counts credentials that are in cooldown for every model, ``partly_cooling_down``
    those that are for some. ``waiting`` requests wait for a credential. ``circuit_breaker``:
    ``None`` while it is closed. ``credentials`` is empty where only the counts were asked for.
    """

    name: str
    plugin: str
    dialects: Sequence[str]
    selector: str
    lifecycle: Lifecycle
    credential_count: int
    in_flight: int
    waiting: int
    cooling_down: int
    partly_cooling_down: int
    circuit_breaker: CooldownStatus | None
    credentials: Sequence[CredentialStatus] = ()


class RequestCount(Struct, frozen=True, kw_only=True):
    """Finished requests that are alike, since the process started.

    ``client`` is empty where the key was wrong or the body unreadable; ``provider`` and ``model``
    are those of the attempt that answered, else of the last one, empty without an attempt. Model
    names that only a client knows are counted as ``other``.
    """

    client: str
    dialect: str
    provider: str
    model: str
    status: int
    outcome: str
    stream: bool
    requests: int
    usage: Usage | None = None


class AttemptCount(Struct, frozen=True, kw_only=True):
    """Attempts at a provider that ended alike. ``fault``: who must act; ``None`` if it succeeded."""

    provider: str
    fault: str | None
    status: int | None
    attempts: int


class Histogram(Struct, frozen=True, kw_only=True):
    """Durations in seconds. ``counts`` has one entry per upper bound (inclusive) and one for what is above them."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float

    @property
    def total(self) -> int:
        return sum(self.counts)


class LatencyCount(Struct, frozen=True, kw_only=True):
    """How long requests took, measured from their first byte.

    ``duration`` ends with the response's last byte, ``first_event`` with the upstream's first event.
    ``overhead`` is the proxy's own time until the response's first byte, without any waiting.
    """

    dialect: str
    provider: str
    stream: bool
    duration: Histogram
    first_event: Histogram
    overhead: Histogram


class PluginTime(Struct, frozen=True, kw_only=True):
    """Time spent in one function of a plugin. ``role`` is what the function is: sanitizer, decoder, redactor.

    ``failures``: calls that raised, or returned something wrong. ``breaker``: a function that is over its budget
    several times in a row is not called for a while (open), and then once to find out (half open).
    """

    plugin: str
    role: str
    name: str
    calls: int
    seconds: float
    slowest_s: float = 0.0
    failures: int = 0
    breaker: Literal["closed", "open", "half open"] = "closed"


class QueueStatus(Struct, frozen=True, kw_only=True):
    """A bounded queue off the request path: what waits in it, and what was dropped because it was full."""

    name: Literal["records", "observer_records", "log_lines"]
    waiting: int
    dropped: int


class PluginStatus(Struct, frozen=True, kw_only=True):
    """An installed plugin and what became of it; ``reason`` says why it is not active."""

    name: str
    version: str
    distribution: str
    state: str
    reason: str
    hooks: Sequence[str]
    load_s: float


class StoreStatus(Struct, frozen=True, kw_only=True):
    """The state store. ``problem`` is ``None`` while it works; ``processes`` share it, this one included."""

    scheme: str
    problem: str | None
    processes: int


class RecentRequest(Struct, frozen=True, kw_only=True):
    """A finished request in brief; ``proxy-core explain ID`` knows more. ``deployment`` answered, or was tried last.

    ``cost`` is in US dollars; ``None`` without usage or a known price.
    """

    id: str
    client: str
    dialect: str
    model: str
    deployment: str | None
    credential: str | None
    attempts: int
    stream: bool
    status: int
    outcome: str
    error: str | None
    started_at: datetime
    first_event_s: float | None
    duration_s: float
    usage: Usage | None
    cost: float | None = None


class Health(Struct, frozen=True, kw_only=True):
    """``unavailable``: nothing can be served. ``degraded``: something does not work as it should."""

    state: Literal["ok", "degraded", "unavailable"]
    problems: Sequence[str]


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """Everything that one process of a running proxy can say about itself at ``taken_at``.

    Workers count from 1, and a replacement gets the number of the worker that it replaces.
    ``parent`` is the process id that all workers of one program share; ``None``: it has no workers.
    ``url`` is where it listens; empty in another program's process.
    ``failures`` counts failures of plugins that no client noticed, by role. ``recent`` has the
    newest request first.
    """

    version: str
    python: str
    process: int
    worker: int
    parent: int | None
    taken_at: datetime
    started_at: datetime
    health: Health
    warnings: Sequence[str]
    requests_in_flight: int
    providers: Sequence[ProviderStatus]
    plugins: Sequence[PluginStatus]
    store: StoreStatus
    queues: Sequence[QueueStatus]
    failures: Mapping[str, int]
    requests: Sequence[RequestCount]
    attempts: Sequence[AttemptCount]
    latencies: Sequence[LatencyCount]
    plugin_times: Sequence[PluginTime]
    recent: Sequence[RecentRequest] = ()
    url: str = ""

    @property
    def uptime_s(self) -> float:
        return (self.taken_at - self.started_at).total_seconds()
