"""``GET /v1/quota-stats``: usage and cooldowns of each provider's credentials, for dashboards.

Usage covers all processes and the last days; cooldowns are the view of the process that answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from proxy_core import (
    BadRequest,
    CooldownStatus,
    CredentialStatus,
    Operation,
    OperationRequest,
    OperationResponse,
    OperationServices,
    ProviderStatus,
    QuotaStatus,
    Unavailable,
    UsageRow,
)

_DAYS = 30
_COUNTED = [
    name for name in UsageRow.__struct_fields__ if name not in ("day", "client", "provider", "credential", "model")
]


async def show(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """All providers, or the one named by ``?provider=``. Raises ``BadRequest`` if there is none of that name."""
    status, wanted = services.status(), request.head.query.get("provider")
    providers = [provider for provider in status.providers if wanted in (None, provider.name)]
    if wanted is not None and not providers:
        raise BadRequest(f"There is no provider {wanted!r}.", param="provider")
    today, problem = status.taken_at.date(), status.store.problem
    try:
        rows = await services.usage(today - timedelta(days=_DAYS - 1), today)
    except Unavailable as error:
        rows, problem = [], problem or error.message
    rows = [row for row in rows if wanted in (None, row.provider)]
    body = {
        "providers": {p.name: _provider(p, [row for row in rows if row.provider == p.name]) for p in providers},
        "summary": _counted(rows),
        "days": _DAYS,
        "timestamp": status.taken_at.isoformat(timespec="seconds"),
        "problem": problem,
    }
    return OperationResponse(body=body)


OPERATION = Operation(paths=["/v1/quota-stats", "/quota-stats"], answer=show)


def _provider(provider: ProviderStatus, rows: Sequence[UsageRow]) -> dict[str, Any]:
    models = sorted({row.model for row in rows})
    return {
        "selector": provider.selector,
        "credential_count": provider.credential_count,
        "cooling_down_count": provider.cooling_down + provider.partly_cooling_down,
        "models": {model: _counted(row for row in rows if row.model == model) for model in models},
        **_counted(rows),
        "credentials": {
            credential.id: _credential(credential, [row for row in rows if row.credential == credential.id])
            for credential in provider.credentials
        },
    }


def _credential(credential: CredentialStatus, rows: Iterable[UsageRow]) -> dict[str, Any]:
    return {
        "label": credential.label,
        "tier": credential.tier,
        "priority": credential.priority,
        **_counted(rows),
        "in_flight": credential.in_flight,
        "cooldown": _cooldown(credential.cooldown),
        "windows": {quota.name: _window(quota) for quota in credential.quotas},
    }


def _window(quota: QuotaStatus) -> dict[str, Any]:
    return {
        "used": quota.used,
        "limit": quota.limit,
        "window_resets": _time(quota.resets_at),
        "cooldown": _cooldown(quota.cooldown),
    }


def _cooldown(cooldown: CooldownStatus | None) -> dict[str, Any] | None:
    """Without the upstream's message: clients see it."""
    if cooldown is None:
        return None
    return {
        "since": _time(cooldown.since),
        "until": _time(cooldown.until),
        "next_probe": _time(cooldown.next_probe),
        "probing": cooldown.probing,
        "failures": cooldown.failures,
        "code": cooldown.code,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None


def _counted(rows: Iterable[UsageRow]) -> dict[str, float]:
    rows = list(rows)
    return {name: sum(getattr(row, name) for row in rows) for name in _COUNTED}
