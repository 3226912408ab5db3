"""Configured caps: ``[[providers.<name>.rotation.caps]]`` applied to one credential and quota group. Pure."""

from __future__ import annotations

from proxy_core.settings.rotation import CapSettings


def cap_limit(cap: CapSettings, known: float | None) -> float | None:
    """How many requests the cap allows, never more than the provider; ``None`` if that depends on an unknown limit."""
    text = cap.limit
    if text.endswith("%"):
        return None if known is None else known * min(float(text[:-1]), 100.0) / 100
    if text[0] in "+-":
        return None if known is None else max(0.0, min(known, known + float(text)))
    return float(text) if known is None else min(float(text), known)


def cap_cooldown_until(cap: CapSettings, now: float, resets_at: float) -> float:
    """When an exhausted cap ends; ``resets_at`` is the end of the quota window."""
    kind, _, seconds = cap.cooldown.partition(":")
    if kind == "fixed":
        return now + max(0.0, float(seconds))
    return max(now, resets_at + (float(seconds) if kind == "offset" else 0.0))
