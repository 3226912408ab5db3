"""Mirrowel's environment variables for one provider's rotation; each sets a key in ``[providers.<name>.rotation]``.

They are read as Mirrowel's documentation describes them, also where Mirrowel's code does not follow it: several
priorities in one name, groups that begin with a digit, dashes and dots in names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from proxy_core import AskedProvider, FoundSettings, Variable, Variables, environment_name

KeyPath = tuple[str, ...]

#: Variables for one provider's rotation, and the key that each one sets. If two set the same key, the later one
#: in this list wins; a variable for one mode wins over one for all modes.
ROTATION_NAMES: Mapping[str, str] = {
    "ROTATION_TOLERANCE": "tolerance",
    "EXHAUSTION_COOLDOWN_THRESHOLD": "exhausted_cooldown_s",
    "EXHAUSTION_COOLDOWN_THRESHOLD_<NAME>": "exhausted_cooldown_s",
    "ROTATION_MODE_<NAME>": "selector",
    "MAX_CONCURRENT_REQUESTS_PER_KEY_<NAME>[_<MODE>]": "max_concurrent",
    "OPTIMAL_CONCURRENT_REQUESTS_PER_KEY_<NAME>[_<MODE>]": "preferred_concurrency",
    "CONCURRENCY_MULTIPLIER_<NAME>_PRIORITY_<N>[_<MODE>]": "multipliers",
    "SEQUENTIAL_FALLBACK_MULTIPLIER_<NAME>": "default_multiplier",
    "FAIR_CYCLE_TRACKING_MODE_<NAME>": "fair_cycle_scope",
    "FAIR_CYCLE_CROSS_TIER_<NAME>": "fair_cycle_cross_tier",
    "FAIR_CYCLE_DURATION_<NAME>": "fair_cycle_s",
    "FAIR_CYCLE_QUOTA_THRESHOLD_<NAME>": "fair_cycle_share",
    "FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_<NAME>": "fair_cycle_short_cooldown_s",
    "FAIR_CYCLE_ENABLED_<NAME>": "fair_cycle",
    "FAIR_CYCLE_<NAME>": "fair_cycle",
    "QUOTA_GROUPS_<NAME>_<GROUP>": "quota_groups",
    "CUSTOM_CAP_<NAME>_T<PRIORITIES>_<ON>": "caps",
    "CUSTOM_CAP_COOLDOWN_<NAME>_T<PRIORITIES>_<ON>": "caps",
}

#: An empty variable with this prefix is meaningful: it removes the group.
MAY_BE_EMPTY = "QUOTA_GROUPS_"

_PARTS = {
    "[_<MODE>]": "(?:_(?P<mode>BALANCED|SEQUENTIAL))?",
    "<N>": "(?P<item>[0-9]+)",
    "<GROUP>": "(?P<item>.+)",
    "<PRIORITIES>": "(?P<priorities>DEFAULT|[0-9]+(?:_[0-9]+)*)",
    "<ON>": "(?P<on>.+)",
}


def _rest(form: str) -> re.Pattern[str]:
    """What may follow the provider's name in a form."""
    rest = form.partition("<NAME>")[2]
    for part, pattern in _PARTS.items():
        rest = rest.replace(part, pattern)
    return re.compile(rest)


#: What each form begins with, and what may follow the provider's name.
_FORMS = {form: (form.partition("<NAME>")[0], _rest(form)) for form in ROTATION_NAMES}
_PREFIXES = tuple(prefix for prefix, _ in _FORMS.values())


class Reading(Struct, frozen=True):
    """A rotation variable with its name parsed; ``provider`` is ``None`` if it applies to all."""

    variable: Variable
    form: str
    provider: str | None
    parts: Mapping[str, str | None]

    @property
    def key(self) -> str:
        """The key that it sets in the table."""
        return ROTATION_NAMES[self.form]

    @property
    def mode(self) -> str | None:
        """The selector that it applies to; ``None``: any."""
        mode = "SEQUENTIAL" if self.form.startswith("SEQUENTIAL_") else self.parts.get("mode")
        return mode.lower() if mode else None

    def caps(self) -> list[tuple[tuple[int, ...], str]]:
        """What a cap may apply to: priorities, and a model or group as environment variables spell it.

        ``T2_3_FLASH`` means priorities 2 and 3 of ``flash``, or priority 2 of ``3-flash``. Models are not known
        yet, so both are returned; the one that matches no model or group has no effect.
        """
        priorities, on = self.parts["priorities"] or "", self.parts["on"] or ""
        if priorities == "DEFAULT":
            return [((), on)]
        numbers = priorities.split("_")
        return [
            (tuple(int(n) for n in numbers[:count]), "_".join([*numbers[count:], on]))
            for count in range(len(numbers), 0, -1)
        ]


def rotation_settings(variables: Variables, asked: AskedProvider) -> FoundSettings:
    """``[providers.<name>.rotation]`` as the environment sets it; origins have the whole path.

    The file's caps stay, and the variables' are added to them. ``25_FLASH`` finds the existing group ``25-flash``.
    """
    readings, _ = rotation_readings(variables, asked.providers)
    mine = [r for r in readings if r.provider in (None, environment_name(asked.name))]
    if not mine:  # as for most of the many providers that have presets
        return FoundSettings()
    below, selector = asked.file.get("rotation", {}), _selector(variables, asked)
    groups = {*asked.suggested.quota_groups, *below.get("quota_groups", ())}
    table, origins = _plain([r for r in mine if r.key != "caps" and r.mode in (None, selector)], groups)
    caps, cap_origins, unused = _caps([r for r in mine if r.key == "caps"], below.get("caps", []))
    if caps:
        table["caps"] = caps
        origins |= {("caps", *path): origin for path, origin in cap_origins.items()}
    unused += [
        f"{r.variable.name} has no effect: {asked.name} uses the selector {selector}"
        for r in mine
        if r.mode not in (None, selector)
    ]
    at = ("providers", asked.name, "rotation")
    return FoundSettings(table=table, origins={(*at, *path): o for path, o in origins.items()}, unused=unused)


def replaced(variables: Variables, asked: AskedProvider) -> dict[str, str]:
    """The provider's own variables that another one of its own replaces, each with that one."""
    readings, _ = rotation_readings(variables, asked.providers)
    selector, own = _selector(variables, asked), environment_name(asked.name)
    found: dict[str, str] = {}
    counts: dict[tuple[str, str | None], str] = {}
    for reading in _ordered(r for r in readings if r.provider == own and r.key != "caps"):
        if reading.mode in (None, selector):
            at, name = (reading.key, reading.parts.get("item")), reading.variable.name
            if before := counts.get(at):
                found[before] = name
            counts[at] = name
    return found


def _ordered(readings: Iterable[Reading]) -> list[Reading]:
    """Of two that set the same, the later one counts."""
    order = list(ROTATION_NAMES)
    return sorted(readings, key=lambda r: (r.mode is not None, order.index(r.form)))


def _selector(variables: Variables, asked: AskedProvider) -> str:
    """The selector that will be in effect."""
    mode = variables.get(f"ROTATION_MODE_{environment_name(asked.name)}")
    return (
        asked.above.get("rotation", {}).get("selector")
        or (mode.value.strip().lower() if mode else None)
        or asked.file.get("rotation", {}).get("selector")
        or asked.suggested.selector
        or asked.selector
    )


def _plain(readings: Iterable[Reading], groups: Iterable[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """All keys but the caps: single values, and tables by priority or group."""
    spelled = {environment_name(group): group for group in groups}
    table: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for reading in _ordered(readings):
        key, item, value = reading.key, reading.parts.get("item"), reading.variable.value.strip()
        if item is None:
            table[key] = value.lower()  # a number, a boolean or a keyword
            origins[key,] = str(reading.variable)
        else:
            item = spelled.get(item, item.lower()) if key == "quota_groups" else str(int(item))
            table.setdefault(key, {})[item] = value
            origins[key, item] = str(reading.variable)
    return table, origins


def _caps(
    readings: Iterable[Reading], below: Iterable[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[KeyPath, str], list[str]]:
    """All caps; none if no variable sets one. A variable changes the file's cap with the same target, or adds a cap."""
    caps = {(tuple(c.get("priorities", ())), _spelled(c.get("models", "*"))): dict(c) for c in below}
    origins: dict[KeyPath, str] = {}
    unused = []
    # Limits first: a cooldown applies to a cap that already exists.
    for reading in sorted(readings, key=lambda r: r.form.startswith("CUSTOM_CAP_COOLDOWN_")):
        key = "cooldown" if reading.form.startswith("CUSTOM_CAP_COOLDOWN_") else "limit"
        targets = [target for target in reading.caps() if key == "limit" or target in caps]
        for target in targets:
            named = () if target in caps else ("models", "priorities")
            cap = caps.setdefault(target, {"models": target[1], "priorities": list(target[0])})
            cap[key] = reading.variable.value.strip().lower()
            index = str(list(caps).index(target))
            origins |= {(index, field): str(reading.variable) for field in (*named, key)}
        if not targets:
            unused.append(f"{reading.variable.name} has no effect: there is no cap with this target")
    return (list(caps.values()) if origins else []), origins, unused


def _spelled(on: str) -> str:
    """A name as a variable spells it; globs stay as they are, because no variable can contain one."""
    return on if any(sign in on for sign in "*?[") else environment_name(on)


def rotation_readings(variables: Variables, providers: Iterable[str]) -> tuple[list[Reading], list[str]]:
    """All rotation variables, parsed, and the names of those that match no existing provider."""
    of_rotation = [variable for variable in variables.values() if variable.name.startswith(_PREFIXES)]
    if not of_rotation:
        return [], []
    # The longest first: GEMINI_CLI before GEMINI.
    spelled = sorted({environment_name(name) for name in providers}, key=lambda name: (-len(name), name))
    found, unmatched = [], []
    for variable in of_rotation:
        reading = _reading(variable, spelled)
        if reading is None:
            unmatched.append(variable.name)
        else:
            found.append(reading)
    return found, sorted(unmatched)


def _reading(variable: Variable, providers: Iterable[str]) -> Reading | None:
    for form, (prefix, rest) in _FORMS.items():
        if variable.name.startswith(prefix):
            for provider in providers if "<NAME>" in form else [""]:
                at = len(prefix) + len(provider)
                if variable.name.startswith(provider, len(prefix)) and (match := rest.fullmatch(variable.name, at)):
                    return Reading(variable, form, provider or None, match.groupdict())
    return None
