"""Requests: the live tail, a search over those in the history, and what happened to one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from proxy_core import PageResponse, ProcessStatus
from proxy_plugin_dashboard.own_calls import Refused, account_names, ask, segment
from proxy_plugin_dashboard.page import Asked, Page, fragment
from proxy_plugin_dashboard.views.requests_model import (
    FILTERS,
    OUTCOMES,
    PER_PAGE,
    Explanation,
    Found,
    accounts_in,
    ended_at,
    explanation,
    found_in,
    requests_model,
    wanted,
    with_newer,
)
from proxy_plugin_dashboard.words import money

#: Searches whose last answers are kept, so that a live page asks again only when a request has ended.
_MOST_KEPT = 32
#: After this, the whole history is searched again, because the oldest requests leave it.
_ANEW_S = 60.0
#: Another worker's request may have ended a little before the newest one, but come later.
_OVERLAP_S = 2.0
#: Where a proxy listens unless it is told otherwise, for one that another program serves.
_HERE = "http://127.0.0.1:8000"


class _Kept(Struct, frozen=True, kw_only=True):
    """The answer to a search. ``marker``: the newest request of each process by then; ``at``: when it was made."""

    found: Found
    marker: object
    at: float


async def show(asked: Asked) -> Mapping[str, object]:
    query = wanted(asked.query)
    problem, shown = "", None
    try:
        found = await _found(asked, query)
        if asked.query.get("id") and not asked.is_tick:
            shown = await _explained(asked, asked.query["id"])
    except Refused as refused:
        found, problem = Found(requests=(), kept=0, matched=0), str(refused)
    names = await account_names(asked, {r.credential for r in found.requests if r.credential})
    return {
        "requests": requests_model(asked.statuses, found, query),
        "names": names,
        "outcomes": OUTCOMES,
        "filters": FILTERS,
        "problem": problem,
        "explanation": shown,
        "request_id": asked.query.get("id", ""),
        "url": asked.statuses[0].url or _HERE,
    }


async def _found(asked: Asked, query: Mapping[str, str]) -> Found:
    """Asked anew for every page; for a tick of a live page only for what has ended since, if anything has."""
    kept: dict[str, _Kept] = asked.kept.setdefault("found", {})
    key, marker = urlencode(query), [_newest(status) for status in asked.statuses]
    known = kept.get(key) if asked.is_tick else None
    if known is not None and time.monotonic() - known.at > _ANEW_S:
        known = None
    if known is not None and known.marker == marker:
        return known.found
    since = (
        {"after": ended_at(known.found.requests[0]) - _OVERLAP_S} if known is not None and known.found.requests else {}
    )
    answer = found_in((await ask(asked.request, "/admin/requests", {**query, **since, "limit": PER_PAGE}))["processes"])
    found = with_newer(known.found, answer) if known is not None and since else answer
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[key] = _Kept(found=found, marker=marker, at=known.at if known is not None else time.monotonic())
    return found


def _newest(status: ProcessStatus) -> tuple[int, str]:
    return status.process, status.recent[0].id if status.recent else ""


async def _explained(asked: Asked, request_id: str) -> Explanation | None:
    try:
        record = await ask(asked.request, f"/admin/explain/{segment(request_id)}")
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    names = await account_names(asked, accounts_in(record))
    return explanation(record, names, await _cost(asked, request_id))


async def _cost(asked: Asked, request_id: str) -> str:
    answer = await ask(asked.request, "/admin/requests", {"q": request_id, "limit": 5})
    costs: list[Any] = [r["cost"] for p in answer["processes"] for r in p["requests"] if r["id"] == request_id]
    return money(costs[0]) if costs and costs[0] is not None else ""


async def detail(asked: Asked) -> PageResponse:
    """The fragment for one click; without scripts, the same is in the page at ``?id=``."""
    shown = await _explained(asked, asked.rest)
    return await fragment("explanation.html", explanation=shown, request_id=asked.rest)


PAGE = Page(name="requests", title="Requests", show=show, live=("list",), get={"detail": detail})
