"""The fields of the old proxy's ``/v1/quota-stats``, by which its viewers know usage and quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from proxy_core import CredentialStatus, ProviderStatus, QuotaStatus, UsageRow

#: The one window of each quota here.
_WINDOW = "quota"


def of_all(providers: Sequence[ProviderStatus], rows: Sequence[UsageRow]) -> dict[str, Any]:
    states = [_state(credential) for provider in providers for credential in provider.credentials]
    return {
        "total_providers": len(providers),
        "total_credentials": len(states),
        "active_credentials": states.count("active") + states.count("mixed"),
        "exhausted_credentials": states.count("exhausted"),
        "total_requests": sum(row.requests for row in rows),
        "tokens": _tokens(rows),
        "approx_total_cost": _cost(rows),
    }


def of_provider(provider: ProviderStatus, rows: Sequence[UsageRow]) -> dict[str, Any]:
    states = [_state(credential) for credential in provider.credentials]
    return {
        "provider": provider.name,
        "rotation_mode": provider.selector,
        "active_count": states.count("active") + states.count("mixed"),
        "exhausted_count": states.count("exhausted"),
        "total_requests": sum(row.requests for row in rows),
        "tokens": _tokens(rows),
        "approx_cost": _cost(rows),
        "quota_groups": _groups(provider.credentials),
    }


def of_credential(credential: CredentialStatus, rows: Sequence[UsageRow], now: datetime) -> dict[str, Any]:
    """Without what is secret there: the key itself, and the file of a login."""
    models = sorted({row.model for row in rows})
    return {
        "stable_id": credential.id,
        "identifier": credential.label,
        "status": _state(credential),
        "active_requests": credential.in_flight,
        "totals": _totals(rows),
        "model_usage": {model: {"totals": _totals([row for row in rows if row.model == model])} for model in models},
        "group_usage": {quota.name: {"windows": {_WINDOW: _window(quota)}} for quota in credential.quotas},
        "cooldowns": _cooldowns(credential, now),
    }


def _state(credential: CredentialStatus) -> str:
    """In the old proxy's words; here there are more reasons why a credential cannot be used."""
    if credential.cooldown is not None or credential.state not in ("usable", "busy"):
        return "cooldown"
    used_up = [quota.cooldown is not None or quota.capped_until is not None for quota in credential.quotas]
    if any(used_up):
        return "exhausted" if all(used_up) else "mixed"
    return "active"


def _groups(credentials: Iterable[CredentialStatus]) -> dict[str, Any]:
    """Of each quota, what is used and left of all credentials with a known limit."""
    known: dict[str, list[tuple[int, float]]] = {}
    for credential in credentials:
        for quota in credential.quotas:
            known.setdefault(quota.name, []).extend([] if quota.allowed is None else [(quota.used, quota.allowed)])
    return {name: {"windows": {_WINDOW: _left(pairs)}} for name, pairs in known.items()}


def _left(pairs: Sequence[tuple[int, float]]) -> dict[str, float | None]:
    most = sum(limit for _, limit in pairs)
    left = sum(max(0, limit - used) for used, limit in pairs)
    return {
        "total_used": sum(used for used, _ in pairs),
        "total_remaining": left,
        "total_max": most,
        "remaining_pct": round(100 * left / most, 1) if most else None,
    }


def _window(quota: QuotaStatus) -> dict[str, Any]:
    most, returns_at = quota.allowed, quota.capped_until or quota.resets_at
    return {
        "request_count": quota.used,
        "limit": most,
        "remaining": None if most is None else max(0, most - quota.used),
        "reset_at": returns_at.timestamp() if returns_at is not None else None,
    }


def _cooldowns(credential: CredentialStatus, now: datetime) -> Mapping[str, Any]:
    """``_global_``: of the whole credential; the others by model or group."""
    found = {quota.name: quota.cooldown for quota in credential.quotas} | {"_global_": credential.cooldown}
    return {
        name: {
            "reason": cooldown.code,
            "remaining_seconds": max(0.0, round((cooldown.until - now).total_seconds(), 1)),
        }
        for name, cooldown in found.items()
        if cooldown is not None
    }


def _totals(rows: Sequence[UsageRow]) -> dict[str, Any]:
    requests, failures = sum(row.requests for row in rows), sum(row.failures for row in rows)
    cached, written = sum(row.cached for row in rows), sum(row.cache_write for row in rows)
    prompt, output = sum(row.prompt for row in rows), sum(row.completion for row in rows)
    thinking = sum(row.reasoning for row in rows)
    return {
        "request_count": requests,
        "success_count": max(0, sum(row.attempts for row in rows) - failures),
        "failure_count": failures,
        "prompt_tokens": prompt - cached - written,
        "completion_tokens": output - thinking,
        "thinking_tokens": thinking,
        "output_tokens": output,
        "prompt_tokens_cache_read": cached,
        "prompt_tokens_cache_write": written,
        "total_tokens": prompt + output,
        "approx_cost": _cost(rows),
    }


def _tokens(rows: Sequence[UsageRow]) -> dict[str, Any]:
    cached, prompt = sum(row.cached for row in rows), sum(row.prompt for row in rows)
    return {
        "input_cached": cached,
        "input_uncached": prompt - cached,
        "input_cache_pct": round(100 * cached / prompt, 1) if prompt else 0,
        "output": sum(row.completion for row in rows),
    }


def _cost(rows: Sequence[UsageRow]) -> float | None:
    """``None`` if no price is known; what nobody answered is free."""
    cost = sum(row.cost for row in rows)
    known = any(row.priced for row in rows) and all(row.priced >= row.requests for row in rows)
    return cost if cost or known else None
