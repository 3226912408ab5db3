"""Health: whether requests can be served, and what does not work as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from proxy_core import PageResponse, ProcessStatus, QueueStatus
from proxy_plugin_dashboard.page import Asked, Page, fragment
from proxy_plugin_doctor import findings_of


class Worker(Struct, frozen=True, kw_only=True):
    number: int
    process: int
    state: str
    started_at: datetime
    in_flight: int
    queues: Sequence[QueueStatus]
    failures: Mapping[str, int]


class HealthModel(Struct, frozen=True, kw_only=True):
    """``state`` is the worst of all workers'."""

    now: datetime
    state: str
    problems: Sequence[str]
    warnings: Sequence[str]
    store: str
    store_problem: str | None
    processes: int
    workers: Sequence[Worker]


_STATES = ("ok", "degraded", "unavailable")


def health_model(statuses: Sequence[ProcessStatus]) -> HealthModel:
    own = statuses[0]
    return HealthModel(
        now=max(status.taken_at for status in statuses),
        state=max((status.health.state for status in statuses), key=_STATES.index),
        problems=list(dict.fromkeys(problem for status in statuses for problem in status.health.problems)),
        warnings=list(dict.fromkeys(warning for status in statuses for warning in status.warnings)),
        store=own.store.scheme,
        store_problem=next((s.store.problem for s in statuses if s.store.problem is not None), None),
        processes=max(status.store.processes for status in statuses),
        workers=[
            Worker(
                number=status.worker,
                process=status.process,
                state=status.health.state,
                started_at=status.started_at,
                in_flight=status.requests_in_flight,
                queues=status.queues,
                failures=status.failures,
            )
            for status in statuses
        ],
    )


async def show(asked: Asked) -> Mapping[str, object]:
    return {"health": health_model(asked.statuses)}


async def checks(asked: Asked) -> PageResponse:
    """``health/checks``: what ``proxy-core doctor`` finds. Not part of the page, because it takes a second or two."""

    # With what the next start would read: the settings in effect may no longer be those of the file.
    found = await asyncio.to_thread(findings_of, asked.request.read_settings)
    found = sorted(found, key=lambda finding: finding.note)
    values = {"findings": found, "count": sum(not finding.note for finding in found)}
    if asked.is_fragment:
        return await fragment("checks.html", **values)
    return await asked.whole("checks_page.html", **values)


PAGE = Page(name="health", title="Health", show=show, live=("state",), get={"checks": checks})
