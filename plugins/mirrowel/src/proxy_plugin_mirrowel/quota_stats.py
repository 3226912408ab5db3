"""``/v1/quota-stats``: usage and cooldowns of each provider's credentials, for dashboards and the old proxy's viewers.

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
from proxy_plugin_mirrowel import quota_shape

_DAYS = 30
_ACTIONS = ("reload", "force_refresh")
_COUNTED = [
    name for name in UsageRow.__struct_fields__ if name not in ("day", "client", "provider", "credential", "model")
]


async def show(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """All providers, or the one named by ``?provider=``. Raises ``BadRequest`` if there is none of that name."""
    return OperationResponse(body=await _stats(services, request.head.query.get("provider")))


async def refresh(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """The same for ``{action, scope, provider, credential}``; ``force_refresh`` asks providers for their quotas first.

    Raises ``BadRequest``.
    """
    action, scope = request.body.get("action"), request.body.get("scope", "all")
    provider, credential = request.body.get("provider"), request.body.get("credential")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise BadRequest(f"The action has to be {' or '.join(_ACTIONS)}.", param="action")
    if scope not in ("all", "provider", "credential"):
        raise BadRequest("The scope has to be all, provider or credential.", param="scope")
    if scope != "all" and not isinstance(provider, str):
        raise BadRequest(f"The scope {scope} needs a provider.", param="provider")
    wanted = provider if scope != "all" else None
    success, note = True, "usage is never read from files: it is current in every response"
    if action == "force_refresh":
        asked = await services.refresh_quotas(wanted, credential if scope == "credential" else None)
        success, note = asked > 0, f"asked for {asked} quotas; the others cannot be asked for, or were just now"
    body = await _stats(services, wanted)
    if scope == "credential":
        known = body["providers"][provider]["credentials"]
        if not isinstance(credential, str) or credential not in known:
            raise BadRequest(f"{provider} has no credential of this id.", param="credential")
        body["providers"][provider]["credentials"] = {credential: known[credential]}
    done = {"action": action, "scope": scope, "success": success, "note": note}
    return OperationResponse(body={**body, "data_source": "refreshed", "refresh_result": done})


async def _stats(services: OperationServices, wanted: str | None) -> dict[str, Any]:
    status = services.status()
    providers = [provider for provider in status.providers if wanted in (None, provider.name)]
    if wanted is not None and not providers:
        raise BadRequest(f"There is no provider {wanted!r}.", param="provider")
    today, problem = status.taken_at.date(), status.store.problem
    try:
        rows = await services.usage(today - timedelta(days=_DAYS - 1), today)
    except Unavailable as error:
        rows, problem = [], problem or error.message
    rows = [row for row in rows if wanted in (None, row.provider)]
    now = status.taken_at
    return {
        "providers": {p.name: _provider(p, [row for row in rows if row.provider == p.name], now) for p in providers},
        "summary": {**_counted(rows), **quota_shape.of_all(providers, rows)},
        "data_source": "cache",
        "days": _DAYS,
        "timestamp": now.isoformat(timespec="seconds"),
        "problem": problem,
    }


_PATHS = ["/v1/quota-stats", "/quota-stats"]
OPERATIONS = (Operation(paths=_PATHS, answer=show), Operation(paths=_PATHS, answer=refresh, methods=["POST"]))


def _provider(provider: ProviderStatus, rows: Sequence[UsageRow], now: datetime) -> dict[str, Any]:
    models = sorted({row.model for row in rows})
    return {
        "selector": provider.selector,
        "credential_count": provider.credential_count,
        "cooling_down_count": provider.cooling_down + provider.partly_cooling_down,
        "models": {model: _counted(row for row in rows if row.model == model) for model in models},
        **_counted(rows),
        **quota_shape.of_provider(provider, rows),
        "credentials": {
            credential.id: _credential(credential, [row for row in rows if row.credential == credential.id], now)
            for credential in provider.credentials
        },
    }


def _credential(credential: CredentialStatus, rows: Sequence[UsageRow], now: datetime) -> dict[str, Any]:
    return {
        **quota_shape.of_credential(credential, rows, now),
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
        "limit": quota.allowed,
        "window_resets": _time(quota.capped_until or quota.resets_at),
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
