"""Facts that Google may change: models, aliases, plans, limits and dates, as data.

As of 1 October 2026, taken from Google's own client (core 0.61) and documentation, unless marked "measured".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from msgspec import Struct

from proxy_core import Lifecycle, ModelInfo, ModelSpec, RotationSettings

AS_OF = date(2026, 10, 1)

# --- Models ------------------------------------------------------------------------------

_INPUT, _OUTPUT = 1_048_576, 65_536


def spec(name: str) -> ModelSpec:
    """One model of the Code Assist backend, with its capabilities."""
    capabilities = {"vision": True, "audio": True, "tools": True, "reasoning": True, "json_schema": True}
    return ModelSpec(
        id=name,
        owned_by="google",
        extra={"context_window": _INPUT, "max_output_tokens": _OUTPUT, "capabilities": capabilities},
        info=ModelInfo(context_length=_INPUT, max_output_tokens=_OUTPUT, capabilities=capabilities),
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

#: Names that Google's client uses: the models they mean without and with preview models.
ALIASES: Mapping[str, tuple[str, str]] = {
    "auto": ("gemini-2.5-pro", "gemini-3-pro-preview"),
    "pro": ("gemini-2.5-pro", "gemini-3-pro-preview"),
    "flash": ("gemini-3.5-flash", "gemini-3-flash-preview"),
    "flash-lite": ("gemini-3.1-flash-lite", "gemini-3.1-flash-lite"),
    "auto-gemini-3": ("gemini-3-pro-preview", "gemini-3-pro-preview"),
    "auto-gemini-2.5": ("gemini-2.5-pro", "gemini-2.5-pro"),
}
#: Models that Code Assist knows by a name other than the public one.
BACKEND_NAMES: Mapping[str, str] = {"gemini-3.5-flash": "gemini-3-flash"}
NEWEST_FLASH: Mapping[str, str] = {"gemini-3.5-flash": "gemini-3.8-flash", "gemini-3-flash": "gemini-3.8-flash"}
NEWEST_LITE: Mapping[str, str] = {"gemini-3.1-flash-lite": "gemini-3.5-flash-lite"}
#: The substitute for a model that has no capacity, if the settings allow substitutes.
SUBSTITUTES: Mapping[str, str] = {
    "gemini-3-pro-preview": "gemini-3-flash-preview",
    "gemini-3.1-pro-preview": "gemini-3-flash-preview",
}
#: Paid credits may be spent only on these.
PAID: frozenset[str] = frozenset({"gemini-3-pro-preview", "gemini-3.1-pro-preview", "gemini-3-flash-preview"})


def backend_name(model: str, *, previews: bool, newest_flash: bool, newest_lite: bool) -> str:
    """The Code Assist backend's name for a model."""
    name = model.removeprefix("models/")
    if name in ALIASES:
        name = ALIASES[name][previews]
    if newest_lite:
        name = NEWEST_LITE.get(name, name)
    return NEWEST_FLASH.get(name, name) if newest_flash else BACKEND_NAMES.get(name, name)


# --- Plans and limits --------------------------------------------------------------------


class Plan(Struct, frozen=True, kw_only=True):
    """A tier: its priority and requests per day. ``pro`` (measured) is set if Pro models are counted separately."""

    priority: int
    daily: int
    pro: int | None = None


#: By tier id. Consumer plans ended on 18 June 2026; they stay here because accounts still report them.
PLANS: Mapping[str, Plan] = {
    "g1-ultra-tier": Plan(priority=1, daily=2000, pro=250),
    "g1-pro-tier": Plan(priority=2, daily=1500, pro=250),
    "enterprise-tier": Plan(priority=2, daily=2000),
    "standard-tier": Plan(priority=2, daily=1500),
    "free-tier": Plan(priority=3, daily=1000, pro=100),
    "legacy-tier": Plan(priority=10, daily=1000),
}
UNKNOWN_PLAN = Plan(priority=10, daily=1000)
#: Measured in early 2026: the models of a group share a counter.
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
    """The number of requests per day that a plan allows for a quota group."""
    plan = PLANS.get(tier or "", UNKNOWN_PLAN)
    return plan.pro if group == "pro" and plan.pro is not None else plan.daily


def quota_group(model: str) -> str:
    """The group whose counter a model shares; the model's own name if no group is known."""
    return next((group for group, models in QUOTA_GROUPS.items() if model in models), model)


# --- The provider's lifecycle ------------------------------------------------------------

LIFECYCLE = Lifecycle(
    status="limited",
    note=(
        "Since 18 June 2026 it works only for accounts with a Gemini Code Assist Standard or Enterprise licence "
        "and a Google Cloud project. Google's terms forbid third-party use of these logins. "
        "The supported alternative is the provider gemini with an API key."
    ),
    link="https://github.com/google-gemini/gemini-cli/discussions/28017",
)
#: Changes and their dates, newest last.
CHANGES: Sequence[tuple[date, str]] = (
    (date(2026, 3, 25), "stricter abuse detection; Pro models reserved for paid users (gemini-cli discussion 22970)"),
    (date(2026, 5, 19), "end of access for individuals announced (discussion 28017)"),
    (date(2026, 6, 18), "access ends for free, AI Pro and AI Ultra accounts (UNSUPPORTED_CLIENT)"),
    (date(2026, 7, 17), "consumer Code Assist on GitHub ends"),
)
