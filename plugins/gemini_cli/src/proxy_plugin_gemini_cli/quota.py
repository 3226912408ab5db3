"""A login's remaining quota, as Google reports it: one window per quota group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from proxy_core import Credential, HttpClient, QuotaWindow, UpstreamBroken, UpstreamRequest, json_bytes, load_json
from proxy_plugin_gemini_cli.models import daily_limit, quota_group
from proxy_plugin_gemini_cli.onboarding import Backend


class Bucket(Struct, frozen=True):
    """One model's quota: ``left`` is the remaining fraction; ``amount`` the remaining requests, if reported."""

    model: str
    left: float | None
    amount: float | None
    resets_at: datetime | None


def read_buckets(body: bytes) -> list[Bucket]:
    """``{"buckets": [{"modelId", "remainingFraction", "remainingAmount", "resetTime"}]}``, every key optional.

    A bucket without a model is skipped. A missing fraction next to a reset time means 0, because protobuf omits zeros.
    Raises ``ValueError`` if the body has another form.
    """
    value = load_json(body)
    buckets = value.get("buckets", []) if isinstance(value, dict) else None
    if not isinstance(buckets, list):
        raise ValueError("no list of buckets")
    return [
        _bucket(entry)
        for entry in buckets
        if isinstance(entry, dict)
        and isinstance(entry.get("modelId"), str)
        and entry.get("tokenType", "REQUESTS") == "REQUESTS"
    ]


def _bucket(entry: Mapping[str, Any]) -> Bucket:
    resets_at = _moment(entry.get("resetTime"))
    left = _number(entry.get("remainingFraction"))
    if left is None and resets_at is not None:
        left = 0.0
    model = str(entry["modelId"]).removesuffix("_vertex")
    return Bucket(
        model, None if left is None else min(max(left, 0.0), 1.0), _number(entry.get("remainingAmount")), resets_at
    )


def quota_windows(body: bytes, tier: str | None) -> list[QuotaWindow]:
    """One window per group, taken from its scarcest model. Limits that are not reported come from the plan."""
    scarcest: dict[str, Bucket] = {}
    for bucket in read_buckets(body):
        if bucket.left is None or bucket.resets_at is None:
            continue
        group = quota_group(bucket.model)
        other = scarcest.get(group)
        if other is None or other.left is None or bucket.left < other.left:
            scarcest[group] = bucket
    return [_window(bucket, group, tier) for group, bucket in scarcest.items()]


def _window(bucket: Bucket, group: str, tier: str | None) -> QuotaWindow:
    left = bucket.left or 0.0
    limit = round(bucket.amount / left) if bucket.amount is not None and left > 0 else daily_limit(tier, group)
    return QuotaWindow(limit=limit, used=round(limit * (1 - left)), resets_at=bucket.resets_at, group=bucket.model)


async def ask_quota(credential: Credential, exchange: HttpClient, backend: Backend) -> Sequence[QuotaWindow]:
    """Call ``retrieveUserQuota``. Raises ``UpstreamBroken`` for an unusable answer, and what ``exchange`` raises."""
    project = credential.details.get("project_id")
    headers = [
        ("authorization", f"Bearer {credential.secret.get_secret_value()}"),
        ("content-type", "application/json"),
        *backend.headers,
    ]
    content = json_bytes({"project": project} if isinstance(project, str) and project else {})
    answer = await exchange(UpstreamRequest(url=f"{backend.base}:retrieveUserQuota", headers=headers, content=content))
    if answer.status != 200:
        raise UpstreamBroken(f"Code Assist answered with status {answer.status}")
    try:
        return quota_windows(answer.body, credential.tier)
    except ValueError as error:
        raise UpstreamBroken("Code Assist answered with something else than quotas") from error


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]  # whatever JSON holds; TypeError says so
    except (TypeError, ValueError):
        return None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
