"""How a provider's credentials are used, from settings and the selector. Immutable; a reload creates a new one."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from proxy_core.interfaces import Selector
from proxy_core.rotation.state import UNUSABLE
from proxy_core.settings.rotation import CapSettings, RotationSettings, WindowSettings
from proxy_core.settings.schema import RoutingSettings


class Policy:
    """The rotation settings of one provider, with the selector that they name."""

    def __init__(
        self, selector: Selector, rotation: RotationSettings | None = None, routing: RoutingSettings | None = None
    ) -> None:
        self.selector = selector
        self.rotation = rotation or RotationSettings()
        self.routing = routing or RoutingSettings()
        chosen = self.rotation.fair_cycle
        self.fair_cycle = selector.fair_cycle if chosen is None else chosen
        #: The quota group to which settings assign a model.
        self.group_of = lru_cache(maxsize=1024)(self._group_of)
        #: Configured caps for a model or quota group, in one of its windows, and a credential's priority.
        self.caps_for = lru_cache(maxsize=1024)(self._caps_for)
        #: The smallest share first: the last of a quota.
        self.reserves = sorted(self.rotation.reserves, key=lambda reserve: reserve.share)
        self._main = _main_window(self.rotation)
        #: The names of a quota group's further windows. Each is kept in a group of its own.
        self.windows_of = lru_cache(maxsize=1024)(self._windows_of)
        #: Of a group's name: the quota group proper, and the window.
        self.parts_of = lru_cache(maxsize=1024)(self._parts_of)

    def concurrency(self, priority: int) -> tuple[float, float]:
        """Concurrent requests: the limit, and the preferred number."""
        rotation = self.rotation
        factor = rotation.multipliers.get(priority, rotation.default_multiplier)
        preferred = rotation.preferred_concurrency
        if preferred is None:
            preferred = self.selector.preferred_concurrency
        return _limit(rotation.max_concurrent, factor), _limit(preferred, factor)

    def cycle_of(self, priority: int) -> int:
        """Credentials with the same value share a fair cycle."""
        return 0 if self.rotation.fair_cycle_cross_tier else priority

    def window_of(self, group: str) -> WindowSettings:
        """The window that a group counts in."""
        return self.parts_of(group)[1]

    def _windows_of(self, group: str) -> Sequence[str]:
        windows = self.rotation.windows if self.window_of(group) is self._main else ()
        return [further_window(group, window.name) for window in windows]

    def _parts_of(self, group: str) -> tuple[str, WindowSettings]:
        for window in self.rotation.windows:
            quota = group.removesuffix(further_window("", window.name))
            if quota != group:
                return quota, window
        return group, self._main

    def _caps_for(self, group: str, priority: int) -> list[CapSettings]:
        quota, window = self.parts_of(group)
        return self.rotation.caps_for(quota, priority, window.name)

    def _group_of(self, model: str) -> str | None:
        for group, models in self.rotation.quota_groups.items():
            if any(fnmatchcase(model, glob) for glob in models):
                return group
        return None


def further_window(group: str, window: str) -> str:
    """The name of the group that counts a quota group's requests in a further window."""
    return f"{group} ({window})"


def _main_window(rotation: RotationSettings) -> WindowSettings:
    length_s, begins, resets = rotation.quota_window_s, rotation.quota_window_begins, rotation.quota_resets
    return WindowSettings.model_construct(name="", length_s=length_s, begins=begins, resets=resets)


def _limit(most: int | None, factor: float) -> float:
    return UNUSABLE if most is None or most < 1 else max(1.0, most * factor // 1)
