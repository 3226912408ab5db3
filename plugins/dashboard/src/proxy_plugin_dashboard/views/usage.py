"""Usage: what today cost, and the days before; by client, provider, account and model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proxy_core import PageResponse
from proxy_plugin_dashboard.own_calls import Refused, account_names, ask
from proxy_plugin_dashboard.page import Asked as PageAsked
from proxy_plugin_dashboard.page import Page
from proxy_plugin_dashboard.views.usage_model import BY, RANGES, Asked, as_csv, asked_for, usage_model

#: A live page does not ask the store more often.
_FRESH_S = 3.0
_MOST_KEPT = 32


async def show(asked: PageAsked) -> Mapping[str, object]:
    about = asked_for(asked.query, datetime.now(UTC).date())
    rows, groups, problem = await _read(asked, about)
    wanted = {row["credential"] for row in rows if row.get("credential")} if about.by == "credential" else ()
    names = await account_names(asked, wanted)
    model = await asyncio.to_thread(usage_model, about, rows, groups, names)
    return {"usage": model, "ranges": RANGES, "by": BY, "problem": problem}


Rows = list[Mapping[str, Any]]


async def _read(asked: PageAsked, about: Asked) -> tuple[Rows, Rows, str]:
    """Usage, how long requests took, and why that is not known; for a tick of a live page, not again after a moment."""
    kept: dict[tuple[str, str], tuple[float, Rows, Rows, str]] = asked.kept.setdefault("read", {})
    key = about.range, about.by
    if asked.is_tick and key in kept and time.monotonic() - kept[key][0] < _FRESH_S:
        return kept[key][1:]
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    try:
        rows, groups = await _asked_anew(asked, about)
        problem = ""
    except Refused as refused:
        rows, groups, problem = [], [], str(refused)
    kept[key] = time.monotonic(), rows, groups, problem
    return rows, groups, problem


async def _asked_anew(asked: PageAsked, about: Asked) -> tuple[Rows, Rows]:
    """Raises ``Refused``."""
    by = ",".join(dict.fromkeys(("day", "client", about.by)))
    found = await ask(asked.request, "/admin/usage", {"since": about.since, "until": about.until, "by": by})
    kinds = ",".join(dict.fromkeys(("client", about.by)))
    timed = await ask(asked.request, "/admin/requests", {"since": about.since, "by": kinds, "limit": 0})
    groups: Rows = [{**group, "key": group[about.by]} for process in timed["processes"] for group in process["groups"]]
    rows: Rows = found["usage"]
    return rows, groups


async def download(asked: PageAsked) -> PageResponse:
    about = asked_for(asked.query, datetime.now(UTC).date())
    by = list(dict.fromkeys(("day", "client", "provider", "credential", "model")))
    query = {"since": about.since, "until": about.until, "by": ",".join(by)}
    try:
        found = await ask(asked.request, "/admin/usage", query)
    except Refused as refused:
        return PageResponse(status=refused.status, content_type="text/plain; charset=utf-8", body=str(refused).encode())
    rows = [row for row in found["usage"] if about.client in ("", row["client"])]
    text = await asyncio.to_thread(as_csv, by, rows)
    name = f"usage-{about.since}-to-{about.until}.csv"
    return PageResponse(
        content_type="text/csv; charset=utf-8",
        body=text.encode(),
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


PAGE = Page(name="usage", title="Usage", show=show, live=("today", "figures"), get={"csv": download})
