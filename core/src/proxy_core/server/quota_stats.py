"""``GET /v1/quota-stats``: usage and cooldowns of each provider's credentials, for dashboards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy_core.clock import Clock
from proxy_core.errors import BadRequest
from proxy_core.interfaces import UsageRow
from proxy_core.rotation.explain import every_group
from proxy_core.rotation.pool import Pool
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import json_response
from proxy_core.state.shared import SharedState
from proxy_core.state.usage import COUNTED, summed

log = logging.getLogger("proxy_core.stats")

_DAYS = 30
#: If the store does not respond within this time, the stats are sent without usage.
_STORE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStats:
    """The endpoint. Usage covers all processes and the last days; cooldowns are this process's own view."""

    keys: ClientKeys
    pools: Mapping[str, Pool]
    state: SharedState
    clock: Clock

    async def show(self, request: Request) -> Response:
        self.keys.identify(request.scope)
        wanted = request.query_params.get("provider")
        if wanted is not None and wanted not in self.pools:
            raise BadRequest(f"There is no provider {wanted!r}.", param="provider")
        rows = [row for row in await self._rows() if wanted in (None, row.provider)]
        names = [wanted] if wanted is not None else list(self.pools)
        providers = {name: self._provider(name, [row for row in rows if row.provider == name]) for name in names}
        body = {
            "providers": providers,
            "summary": _counted(rows),
            "days": _DAYS,
            "timestamp": self.clock.now().isoformat(timespec="seconds"),
            "problem": self.state.problem,
        }
        return json_response(body, request)

    async def _rows(self) -> list[UsageRow]:
        today = self.clock.now().date()
        try:
            async with asyncio.timeout(_STORE_TIMEOUT_S):
                return list(await self.state.rows(today - timedelta(days=_DAYS - 1), today))
        except Exception:  # a store may fail in any way; cooldowns can still be reported
            log.warning("usage cannot be read from the state store", exc_info=True)
            return []

    def _provider(self, name: str, rows: list[UsageRow]) -> dict[str, Any]:
        pool = self.pools[name]
        by_credential = {str(key[0]): [row] for key, row in summed(rows, ["credential"])}
        credentials = {
            credential.id: {
                "label": credential.label,
                "tier": credential.tier,
                "priority": credential.priority,
                **_counted(by_credential.get(credential.id, ())),
                **every_group(pool, credential.id),
            }
            for credential in pool.credentials
        }
        return {
            "selector": pool.ledger.policy.selector.name,
            "credential_count": len(pool),
            "cooling_down_count": len(pool.cooling_down()),
            "models": {str(key[0]): _counted([row]) for key, row in summed(rows, ["model"])},
            **_counted(rows),
            "credentials": credentials,
        }


def _counted(rows: Iterable[UsageRow]) -> dict[str, Any]:
    totals = summed(rows, [])
    if not totals:
        return dict.fromkeys(COUNTED, 0)
    return {name: getattr(totals[0][1], name) for name in COUNTED}
