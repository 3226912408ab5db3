"""What changes outside: models, aliases, plans, limits and dates, as data.

True on 1 October 2026, read from Google's own client (core 0.61) and its documents, but for what says "measured".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from proxy_core import Lifecycle, ModelSpec, RotationSettings

AS_OF = date(2026, 10, 1)

# --- Models ------------------------------------------------------------------------------

_INPUT, _OUTPUT = 1_048_576, 65_536


def spec(name: str) -> ModelSpec:
    """One model of the Code Assist backend, with what it can."""
    return ModelSpec(
        id=name,
        owned_by="google",
        extra={
            "context_window": _INPUT,
            "max_output_tokens": _OUTPUT,
            "capabilities": {"vision": True, "audio": True, "tools": True, "reasoning": True, "json_schema": True},
        },
    )


#: The Code Assist backend has no method that lists models. Unknown names are passed on.
CODE_ASSIST_MODELS: Sequence[ModelSpec] = tuple(
    map(
        spec,
        (
            "gemini-2.5-pro",
            "gemini-2.5-flash",
            "gemini-2.5-flash-lite",
            "gemini-3-pro-preview",
            "gemini-3.1-pro-preview",
            "gemini-3-flash-preview",
            "gemini-3.5-flash",
            "gemini-3.8-flash",
            "gemini-3.1-flash-lite",
            "gemini-3.5-flash-lite",
        ),
    )
)

#: Names of Google's client, without and with preview models.
ALIASES: Mapping[str, tuple[str, str]] = {
    "auto": ("gemini-2.5-pro", "gemini-3-pro-preview"),
    "pro": ("gemini-2.5-pro", "gemini-3-pro-preview"),
    "flash": ("gemini-3.5-flash", "gemini-3-flash-preview"),
    "flash-lite": ("gemini-3.1-flash-lite", "gemini-3.1-flash-lite"),
    "auto-gemini-3": ("gemini-3-pro-preview", "gemini-3-pro-preview"),
    "auto-gemini-2.5": ("gemini-2.5-pro", "gemini-2.5-pro"),
}
#: Public names that Code Assist knows under another one.
BACKEND_NAMES: Mapping[str, str] = {"gemini-3.5-flash": "gemini-3-flash"}
NEWEST_FLASH: Mapping[str, str] = {"gemini-3.5-flash": "gemini-3.8-flash", "gemini-3-flash": "gemini-3.8-flash"}
NEWEST_LITE: Mapping[str, str] = {"gemini-3.1-flash-lite": "gemini-3.5-flash-lite"}
#: Who stands in for a model that has no capacity, where settings want that.
STAND_INS: Mapping[str, str] = {
    "gemini-3-pro-preview": "gemini-3-flash-preview",
    "gemini-3.1-pro-preview": "gemini-3-flash-preview",
}
#: Paid credits may be spent on these only.
PAID: frozenset[str] = frozenset({"gemini-3-pro-preview", "gemini-3.1-pro-preview", "gemini-3-flash-preview"})


def backend_name(model: str, *, previews: bool, newest_flash: bool, newest_lite: bool) -> str:
    """What the Code Assist backend calls a model."""
    name = model.removeprefix("models/")
    if name in ALIASES:
        name = ALIASES[name][previews]
    if newest_lite:
        name = NEWEST_LITE.get(name, name)
    return NEWEST_FLASH.get(name, name) if newest_flash else BACKEND_NAMES.get(name, name)


# --- Plans and limits --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A tier: its priority, and requests per day; ``pro`` is measured, where it is known to be counted apart."""

    priority: int
    daily: int
    pro: int | None = None


#: By tier id. Consumer plans ended on 18 June 2026 and are kept for what their accounts still say.
PLANS: Mapping[str, Plan] = {
    "g1-ultra-tier": Plan(priority=1, daily=2000, pro=250),
    "g1-pro-tier": Plan(priority=2, daily=1500, pro=250),
    "enterprise-tier": Plan(priority=2, daily=2000),
    "standard-tier": Plan(priority=2, daily=1500),
    "free-tier": Plan(priority=3, daily=1000, pro=100),
    "legacy-tier": Plan(priority=10, daily=1000),
}
UNKNOWN_PLAN = Plan(priority=10, daily=1000)
#: Measured, early 2026: these share a counter.
QUOTA_GROUPS: Mapping[str, list[str]] = {
    "pro": ["gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.1-pro-preview", "pro", "auto", "auto-gemini-*"],
    "25-flash": ["gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-flash-lite"],
    "3-flash": ["gemini-3-flash-preview"],
}
ROTATION = RotationSettings(
    tiers={tier: plan.priority for tier, plan in PLANS.items()},
    quota_groups=dict(QUOTA_GROUPS),
    max_concurrent=2,
    preferred_concurrency=2,
    multipliers={1: 2},
)


def daily_limit(tier: str | None, group: str) -> int:
    """Requests per day that a plan allows for a quota group."""
    plan = PLANS.get(tier or "", UNKNOWN_PLAN)
    return plan.pro if group == "pro" and plan.pro is not None else plan.daily


def quota_group(model: str) -> str:
    """The group whose counter a model shares; its own name if none is known."""
    return next((group for group, models in QUOTA_GROUPS.items() if model in models), model)


# --- The provider's life -----------------------------------------------------------------

LIFECYCLE = Lifecycle(
    status="limited",
    note=(
        "Since 18 June 2026 it can work only for accounts with a Gemini Code Assist Standard or Enterprise licence "
        "and a Google Cloud project. Google's terms forbid third-party use of these logins. "
        "The supported way is the provider gemini, with an API key."
    ),
    link="https://github.com/google-gemini/gemini-cli/discussions/28017",
)
#: What changed and when, newest last.
CHANGES: Sequence[tuple[date, str]] = (
    (date(2026, 3, 25), "stricter abuse detection; Pro models reserved for paid users (gemini-cli discussion 22970)"),
    (date(2026, 5, 19), "the end for individuals is announced (discussion 28017)"),
    (date(2026, 6, 18), "access ends for free, AI Pro and AI Ultra accounts (UNSUPPORTED_CLIENT)"),
    (date(2026, 7, 17), "consumer Code Assist on GitHub ends"),
)
