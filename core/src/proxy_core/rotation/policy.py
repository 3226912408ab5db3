"""How a provider's credentials are used, from settings and the selector. Immutable; a reload creates a new one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

from proxy_core.interfaces import Selector
from proxy_core.rotation.state import UNUSABLE
from proxy_core.settings.rotation import RotationSettings
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
        #: Configured caps for a model or quota group and a credential's priority.
        self.caps_for = lru_cache(maxsize=1024)(self.rotation.caps_for)

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

    def _group_of(self, model: str) -> str | None:
        for group, models in self.rotation.quota_groups.items():
            if any(fnmatchcase(model, glob) for glob in models):
                return group
        return None


def _limit(most: int | None, factor: float) -> float:
    return UNUSABLE if most is None or most < 1 else max(1.0, most * factor // 1)
