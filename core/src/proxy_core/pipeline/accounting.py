"""Accounting for a request that has ended: its log line and record, counts, usage and cost.

None of it delays a response, as the last byte has been sent.
"""

from __future__ import annotations

import logging
import re

from msgspec import Struct

from proxy_core.errors import CapacityExhausted, PluginFailed, ProxyError, Unavailable, UpstreamBroken
from proxy_core.interfaces import ProxyRequest, RequestRecord
from proxy_core.models.pricing import Prices
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.trace import Outcome, Trace
from proxy_core.records.recent import RecentRequests
from proxy_core.records.recorder import Recorder
from proxy_core.state.budgets import Budgets
from proxy_core.state.usage import UsageBook
from proxy_core.status.counters import Counters

log = logging.getLogger("proxy_core.request")

#: An upstream's own error code is recorded only if it is a plain word or a number.
_CODE = re.compile(r"[A-Za-z_]{1,48}|[0-9]{1,6}")


class Ending(Struct, frozen=True, kw_only=True):
    """How a request ended, as its client saw it."""

    dialect: str
    status: int
    outcome: Outcome
    error: ProxyError | None

    @property
    def code(self) -> str | None:
        error = self.error
        if error is None:
            return None
        return error.code if error.code and _CODE.fullmatch(error.code) else error.kind


class Accounting(Struct, frozen=True, kw_only=True):
    """The places where a request is recorded and counted."""

    counters: Counters
    observers: Observers
    recent: RecentRequests
    recorder: Recorder | None
    budgets: Budgets
    usage: UsageBook
    prices: Prices

    async def account(self, request: ProxyRequest | None, trace: Trace, ending: Ending) -> None:
        """Record and count a request; ``request`` is ``None`` if it could not be read."""
        if request is None:
            self._refused(trace, ending)
            return
        cause = ending.error.cause if isinstance(ending.error, PluginFailed | Unavailable) else ""
        record = trace.record(request, status=ending.status, outcome=ending.outcome, error=ending.code, cause=cause)
        _log(request, record, ending)
        self.counters.finished(record)
        self.observers.notify(record)
        self.recent.keep(record)
        if self.recorder is not None and trace.capture is not None:
            trace.capture.error = ending.error.message if ending.error is not None else None
            self.recorder.record(record, trace.capture)
        await self._count_usage(record)

    def _refused(self, trace: Trace, ending: Ending) -> None:
        self.counters.refused(ending.dialect, ending.status, ending.outcome)
        log.info("%s -> %s %s", ending.dialect, ending.status, ending.code)
        if trace.capture is not None:
            trace.capture.release()

    async def _count_usage(self, record: RequestRecord) -> None:
        """Count usage, and cost towards the client's budget.

        If neither settings nor the tables read so far have a price, the cost is counted once the price
        catalogs have loaded; this is slow only the first time.
        """
        usage, answered, prices = record.usage, record.decisive, self.prices
        if usage is None or answered is None:
            self.usage.count(record, None)
            return
        provider, _, model = answered.deployment.partition("/")
        sure = prices.sure(provider, model, answered.credential)
        cost = prices.cost(provider, model, usage, answered.credential) if sure else None
        self.budgets.count(record.client, usage.total, cost)
        self.usage.count(record, cost)
        if not sure:
            await prices.load()
            late = prices.cost(provider, model, usage, answered.credential)
            if late is not None:
                self.budgets.count(record.client, 0, late)
                self.usage.add_cost(record, late)


def _cause(error: ProxyError, outcome: Outcome) -> str:
    """What happened upstream; empty for limits and for errors of clients."""
    if outcome == "cut":
        broken = isinstance(error, UpstreamBroken)
        return error.cause or ("its response cannot be read" if broken else "it sent an error within its response")
    return error.cause if error.kind != CapacityExhausted.kind else ""


def _log(request: ProxyRequest, record: RequestRecord, ending: Ending) -> None:
    """A failure of an upstream is a warning with its cause; a limit is one only if it ends a response."""
    cause = _cause(ending.error, ending.outcome) if ending.error is not None else ""
    level = logging.WARNING if cause else logging.INFO
    if not log.isEnabledFor(level):
        return
    where = record.decisive.deployment if record.decisive is not None else "-"
    how = f", {ending.outcome} {ending.code or ''}" if ending.outcome != "completed" else ""
    log.log(
        level,
        "%s %s -> %s %s%s %.0f ms, %d attempt(s)%s%s",
        *(request.client, record.model, where, ending.status, " stream" if request.stream else ""),
        *(record.duration_s * 1000, len(record.attempts), how, f": {cause}" if cause else ""),
    )
