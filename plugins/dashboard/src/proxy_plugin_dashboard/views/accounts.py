"""Accounts: which credential can be used, which cannot, until when and why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy_plugin_dashboard.page import Asked, Page
from proxy_plugin_dashboard.views.accounts_model import FILTERS, Known, accounts_model


async def show(asked: Asked) -> Mapping[str, object]:
    known = asked.kept.get("known") or Known()
    # In a thread, because there may be a thousand credentials.
    model = await asyncio.to_thread(accounts_model, asked.statuses, known, asked.query)
    return {"accounts": model, "known": known, "filters": FILTERS}


PAGE = Page(name="accounts", title="Accounts", show=show, live=("summary", "list"), credentials=True)
