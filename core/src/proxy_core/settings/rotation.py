"""``[providers.<name>.rotation]``: how requests are spread over one provider's credentials."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from proxy_core.jsons import loads
from proxy_core.settings.base import StrList, Table, UpstreamKey, environment_name, listed

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PERIOD = rf"(daily|weekly ({'|'.join(WEEKDAYS)})|monthly ([1-9]|[12][0-9]|3[01]))"
_RESETS = rf"^{_PERIOD} ([01][0-9]|2[0-3]):[0-5][0-9]$"
WindowBegins = Literal["clock", "first_request", "sliding"]
#: The priority of a credential without a priority or tier of its own. Lower goes first.
DEFAULT_PRIORITY = 10


class KeySettings(Table):
    """One entry of ``api_keys`` in its long form."""

    key: UpstreamKey = Field(description="The key itself.")
    label: str | None = Field(None, description="A name to display instead of the key's origin.")
    tier: str | None = Field(
        None, description="The subscription plan behind the key; ``rotation.tiers`` maps it to a priority."
    )
    priority: int | None = Field(None, ge=0, description="Lower goes first; overrides the priority of the tier.")


class WindowSettings(Table):
    """One entry of ``[[providers.<name>.rotation.windows]]``: a further quota window of every model or quota group."""

    name: str = Field(
        pattern=r"^[a-z0-9_-]+$", description="The name that caps give as ``window``, and that explanations show."
    )
    length_s: float = Field(86_400, gt=0, description="Its length.")
    begins: WindowBegins = Field("clock", description="As ``quota_window_begins``.")
    resets: str | None = Field(None, pattern=_RESETS, description="As ``quota_resets``; unset: ``length_s`` applies.")


class _OfModels(Table):
    """A rule for some models or quota groups."""

    models: str = Field(
        "*",
        description="The models or quota groups that it applies to: a glob, or a name as environment variables "
        "spell it.",
    )

    def covers(self, name: str) -> bool:
        """Whether the rule applies to the model or quota group ``name``.

        Names from environment variables have lost case, dots and dashes, and usually omit a vendor
        prefix as in ``vendor/model-32b``.
        """
        spelled = (environment_name(name), environment_name(name.rpartition("/")[2]))
        return fnmatchcase(name, self.models) or self.models in spelled


class CapSettings(_OfModels):
    """One entry of ``[[providers.<name>.rotation.caps]]``: use less than the provider allows."""

    priorities: list[int] = Field(
        default_factory=list,
        description="Priorities of the credentials that the cap applies to; empty: all that no other cap on the "
        "model lists.",
    )
    window: str = Field("", description="The name of one of ``windows``; unset: the main quota window.")
    limit: Annotated[str, BeforeValidator(str)] = Field(
        pattern=r"^([+-]?\d+|\d+(\.\d+)?%)$",
        description="Requests per quota window: a number (``130``), relative to the known limit (``-20``), or a "
        "share of it (``80%``).",
    )
    cooldown: str = Field(
        "quota_reset",
        pattern=r"^(quota_reset|(offset|fixed):-?\d+)$",
        description="Cooldown once the cap is reached: until the window resets, ``offset:S`` seconds from that, or "
        "``fixed:S`` seconds.",
    )


class ReserveSettings(_OfModels):
    """One entry of ``[[providers.<name>.rotation.reserves]]``: keep the rest of a quota for some clients."""

    clients: StrList = Field(min_length=1, description="Names or globs of the clients that it is kept for.")
    share: float = Field(
        1,
        gt=0,
        le=1,
        description="The share of each quota window that is kept, where its limit is known from the provider or a "
        "cap; 1: the whole credential.",
    )
    credentials: StrList = Field(
        default_factory=list,
        description="The credentials of which it is kept: ids or labels, or globs of them; empty: all.",
    )
    window: str | None = Field(
        None, description="The name of one of ``windows``, or empty for the main one; unset: every window."
    )

    def covers_credential(self, *names: str) -> bool:
        """``names``: its id and its label."""
        globs = self.credentials
        return not globs or any(fnmatchcase(name, glob) for name in names for glob in globs)


def _tables(value: object) -> object:
    """Environment variables hold only strings, so there the list is JSON."""
    return loads(value) if isinstance(value, str) else value


def _groups(value: object) -> object:
    """Lists of models may be separated by commas."""
    return {name: listed(models) for name, models in value.items()} if isinstance(value, dict) else value


class RotationSettings(Table):
    """``[providers.<name>.rotation]``."""

    selector: str | None = Field(
        None,
        description="The selector that chooses credentials; unset: ``routing.selector``. "
        "Environment: ``ROTATION_MODE_<NAME>``.",
    )
    tolerance: float = Field(
        0,
        ge=0,
        description="``balanced``: how many requests more than the least used credential the chosen one may have "
        "served. Environment: ``ROTATION_TOLERANCE``, for all providers.",
    )
    max_concurrent: int | None = Field(
        None,
        description="Most concurrent requests per credential; unset or below 1: no limit. "
        "Environment: ``MAX_CONCURRENT_REQUESTS_PER_KEY_<NAME>``.",
    )
    preferred_concurrency: int | None = Field(
        None,
        description="Concurrent requests per credential above which other credentials are preferred; unset: 1 for "
        "``balanced``, else no limit. "
        "Environment: ``OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_<NAME>``.",
    )
    multipliers: dict[int, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="By priority, a factor for both concurrency limits. "
        "Environment: ``CONCURRENCY_MULTIPLIER_<NAME>_PRIORITY_<N>``.",
    )
    default_multiplier: float = Field(
        1,
        gt=0,
        description="The factor for priorities not in ``multipliers``. Environment, with ``sequential``: "
        "``SEQUENTIAL_FALLBACK_MULTIPLIER_<NAME>``.",
    )
    tiers: dict[str, int] = Field(default_factory=dict, description="The priority of each tier; lower goes first.")
    quota_groups: Annotated[dict[str, StrList], BeforeValidator(_groups)] = Field(
        default_factory=dict,
        description="By group, the models (globs) that share a quota; an empty list removes a group that the plugin "
        "defines. "
        "Environment: ``QUOTA_GROUPS_<NAME>_<GROUP>``.",
    )
    caps: Annotated[list[CapSettings], BeforeValidator(_tables)] = Field(
        default_factory=list,
        description="Limits below the provider's own. Environment: ``CUSTOM_CAP_<NAME>_T<PRIORITIES>_<ON>``.",
    )
    reserves: Annotated[list[ReserveSettings], BeforeValidator(_tables)] = Field(
        default_factory=list,
        description="What is kept for some clients.",
    )
    quota_window_s: float = Field(
        86_400,
        gt=0,
        description="Length of the quota window, used unless the provider reports one.",
    )
    quota_window_begins: WindowBegins = Field(
        "clock",
        description="When it begins: ``clock``: windows follow one another, and one of a day ends at 00:00 UTC; "
        "``first_request``: with a credential's first request after the last one; "
        "``sliding``: it is always the last ``quota_window_s``.",
    )
    quota_resets: str | None = Field(
        None,
        pattern=_RESETS,
        description="When the quota window ends instead, in UTC: ``daily 03:00``, ``weekly sunday 00:00`` or "
        "``monthly 1 00:00``; a shorter month ends with its last day.",
    )
    windows: Annotated[list[WindowSettings], BeforeValidator(_tables)] = Field(
        default_factory=list,
        description="Further quota windows in which the same requests count, such as one of five hours beside one of a "
        "week.",
    )
    fair_cycle: bool | None = Field(
        None,
        description="Do not use an exhausted credential again until all are exhausted; unset: on for ``sequential``. "
        "Environment: ``FAIR_CYCLE_<NAME>``.",
    )
    fair_cycle_scope: Literal["model_group", "credential"] = Field(
        "model_group",
        description="Whether a credential is exhausted for one model or quota group, or for all. "
        "Environment: ``FAIR_CYCLE_TRACKING_MODE_<NAME>``.",
    )
    fair_cycle_cross_tier: bool = Field(
        False,
        description="One cycle for all priorities together, not one for each. "
        "Environment: ``FAIR_CYCLE_CROSS_TIER_<NAME>``.",
    )
    fair_cycle_s: float = Field(
        604_800,
        gt=0,
        description="After this time a credential no longer counts as exhausted. "
        "Environment: ``FAIR_CYCLE_DURATION_<NAME>``.",
    )
    fair_cycle_share: float = Field(
        1,
        gt=0,
        le=1,
        description="Share of a known limit from which a credential counts as exhausted. "
        "Environment: ``FAIR_CYCLE_QUOTA_THRESHOLD_<NAME>``.",
    )
    fair_cycle_short_cooldown_s: float = Field(
        90,
        ge=0,
        description="A new cycle waits for cooldowns that end within this time. "
        "Environment: ``FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_<NAME>``.",
    )
    exhausted_cooldown_s: float = Field(
        300,
        ge=0,
        description="A credential with a cooldown of at least this length counts as exhausted. "
        "Environment: ``EXHAUSTION_COOLDOWN_THRESHOLD[_<NAME>]``.",
    )

    def over(self, default: RotationSettings) -> RotationSettings:
        """``default``, which comes from the provider's plugin, with every key that is set here replaced.

        ``multipliers``, ``tiers`` and ``quota_groups`` are merged by key. A group disabled by an empty list
        stays in the result, empty, so that applying this twice changes nothing.
        """
        update: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "multipliers" in update:
            update["multipliers"] = {**default.multipliers, **self.multipliers}
        if "tiers" in update:
            update["tiers"] = {**default.tiers, **self.tiers}
        if "quota_groups" in update:
            update["quota_groups"] = _over_groups(self.quota_groups, default.quota_groups)
        return default.model_copy(update=update)

    def caps_for(self, name: str, priority: int, window: str = "") -> list[CapSettings]:
        """The caps on a model or quota group for credentials of a priority, in one of its windows.

        Caps that list the priority replace those without priorities; they are not added to them.
        """
        covering = [cap for cap in self.caps if cap.window == window and cap.covers(name)]
        return [c for c in covering if priority in c.priorities] or [c for c in covering if not c.priorities]


def _over_groups(groups: Mapping[str, list[str]], default: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Merged by name. ``25_flash``, as a variable has to spell it, also matches ``25-flash``."""
    spelled = {environment_name(name): name for name in default}
    named = {n if n in default else spelled.get(environment_name(n), n): models for n, models in groups.items()}
    return {**default, **named}
