"""``[providers.<name>.rotation]``: how one provider's credentials are spent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from proxy_core.settings.base import Key, StrList, Table, environment_name, listed

#: The priority of a credential of which nothing is known. Lower goes first.
DEFAULT_PRIORITY = 10


class KeySettings(Table):
    """One entry of ``api_keys`` in its long form."""

    key: Key = Field(description="The key itself.")
    label: str | None = Field(None, description="A name to show instead of where the key was found.")
    tier: str | None = Field(None, description="The plan behind it; ``rotation.tiers`` gives it a priority.")
    priority: int | None = Field(None, ge=0, description="Lower goes first; wins over the tier's.")


class CapSettings(Table):
    """One entry of ``[[providers.<name>.rotation.caps]]``: use less than the provider would allow."""

    models: str = Field(
        "*", description="Models or quota groups it is for: a glob, or a name as the environment spells it."
    )
    priorities: list[int] = Field(
        default_factory=list, description="Credentials it is for; empty: those that no other cap of that model names."
    )
    limit: Annotated[str, BeforeValidator(str)] = Field(
        pattern=r"^([+-]?\d+|\d+(\.\d+)?%)$",
        description="Requests per quota window: ``130``, relative to the known limit ``-20``, or ``80%`` of it.",
    )
    cooldown: str = Field(
        "quota_reset",
        pattern=r"^(quota_reset|(offset|fixed):-?\d+)$",
        description="How long it then rests: to the window's reset, ``offset:S`` from it, or ``fixed:S``.",
    )

    def covers(self, name: str) -> bool:
        """Whether it is for the model or quota group ``name``.

        Names from the environment have lost case, dots and dashes, and a vendor's prefix as in
        ``vendor/model-32b`` is usually left out there.
        """
        spelled = (environment_name(name), environment_name(name.rpartition("/")[2]))
        return fnmatchcase(name, self.models) or self.models in spelled


def _caps(value: object) -> object:
    """The environment has only strings."""
    return json.loads(value) if isinstance(value, str) else value


def _groups(value: object) -> object:
    """Lists of models may be written with commas."""
    return {name: listed(models) for name, models in value.items()} if isinstance(value, dict) else value


class RotationSettings(Table):
    """``[providers.<name>.rotation]``."""

    selector: str | None = Field(
        None, description="Which selector picks; unset: ``routing.selector``. Environment: ``ROTATION_MODE_<NAME>``."
    )
    tolerance: float = Field(
        0,
        ge=0,
        description="``balanced``: by how many requests the chosen one may be ahead of the least used. "
        "Environment: ``ROTATION_TOLERANCE``, for all providers.",
    )
    max_concurrent: int | None = Field(
        None,
        description="Requests at once per credential; unset or below 1: no limit. "
        "Environment: ``MAX_CONCURRENT_REQUESTS_PER_KEY_<NAME>``.",
    )
    preferred_concurrency: int | None = Field(
        None,
        description="Others go first above this; unset: 1 for ``balanced``, else no limit. "
        "Environment: ``OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_<NAME>``.",
    )
    multipliers: dict[int, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Both limits times this, by priority. Environment: ``CONCURRENCY_MULTIPLIER_<NAME>_PRIORITY_<N>``.",
    )
    default_multiplier: float = Field(
        1,
        gt=0,
        description="For priorities without one. Environment, with ``sequential``: "
        "``SEQUENTIAL_FALLBACK_MULTIPLIER_<NAME>``.",
    )
    tiers: dict[str, int] = Field(default_factory=dict, description="Priority of each tier; lower goes first.")
    quota_groups: Annotated[dict[str, StrList], BeforeValidator(_groups)] = Field(
        default_factory=dict,
        description="Models (globs) that share a quota, by group; an empty list ends a group of the plugin. "
        "Environment: ``QUOTA_GROUPS_<NAME>_<GROUP>``.",
    )
    caps: Annotated[list[CapSettings], BeforeValidator(_caps)] = Field(
        default_factory=list, description="Own limits. Environment: ``CUSTOM_CAP_<NAME>_T<PRIORITIES>_<ON>``."
    )
    quota_window_s: float = Field(
        86_400, gt=0, description="The quota window to count in, from its first request, unless the provider names one."
    )
    fair_cycle: bool | None = Field(
        None,
        description="Leave an exhausted credential alone until all are; unset: on for ``sequential``. "
        "Environment: ``FAIR_CYCLE_<NAME>``.",
    )
    fair_cycle_scope: Literal["model_group", "credential"] = Field(
        "model_group",
        description="Exhausted for the model or group, or altogether. "
        "Environment: ``FAIR_CYCLE_TRACKING_MODE_<NAME>``.",
    )
    fair_cycle_cross_tier: bool = Field(
        False, description="All priorities make one cycle. Environment: ``FAIR_CYCLE_CROSS_TIER_<NAME>``."
    )
    fair_cycle_s: float = Field(
        604_800, gt=0, description="A mark is forgotten after this. Environment: ``FAIR_CYCLE_DURATION_<NAME>``."
    )
    fair_cycle_share: float = Field(
        1,
        gt=0,
        le=1,
        description="Share of a known limit that counts as exhausted. "
        "Environment: ``FAIR_CYCLE_QUOTA_THRESHOLD_<NAME>``.",
    )
    fair_cycle_short_cooldown_s: float = Field(
        90,
        ge=0,
        description="The cycle waits for a rest shorter than this. "
        "Environment: ``FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_<NAME>``.",
    )
    exhausted_cooldown_s: float = Field(
        300,
        ge=0,
        description="A rest of at least this counts as exhausted. "
        "Environment: ``EXHAUSTION_COOLDOWN_THRESHOLD[_<NAME>]``.",
    )

    def over(self, default: RotationSettings) -> RotationSettings:
        """These settings where they say something, else ``default``'s, which a provider's plugin has.

        ``multipliers``, ``tiers`` and ``quota_groups`` are merged by key. A group disabled by an empty list
        stays in the result, empty, so that doing this twice changes nothing.
        """
        said: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "multipliers" in said:
            said["multipliers"] = {**default.multipliers, **self.multipliers}
        if "tiers" in said:
            said["tiers"] = {**default.tiers, **self.tiers}
        if "quota_groups" in said:
            said["quota_groups"] = _over_groups(self.quota_groups, default.quota_groups)
        return default.model_copy(update=said)

    def caps_for(self, name: str, priority: int) -> list[CapSettings]:
        """The caps on a model or quota group for credentials of a priority.

        One that names the priority is meant instead of one for everybody, not beside it.
        """
        covering = [cap for cap in self.caps if cap.covers(name)]
        return [c for c in covering if priority in c.priorities] or [c for c in covering if not c.priorities]


def _over_groups(groups: Mapping[str, list[str]], default: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Merged by name, where ``25_flash`` (all that the environment can say) is also ``25-flash``."""
    spelled = {environment_name(name): name for name in default}
    named = {n if n in default else spelled.get(environment_name(n), n): models for n, models in groups.items()}
    return {**default, **named}
