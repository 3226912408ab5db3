"""One credential's place in a pool."""

from __future__ import annotations

from dataclasses import dataclass

from proxy_core.credentials.cooldown import Cooldown
from proxy_core.credentials.lane import UNUSABLE
from proxy_core.interfaces import Credential, Selector
from proxy_core.rotation import RotationSettings


@dataclass(slots=True)
class Slot:
    """``most`` and ``optimal`` are requests at once; ``granted``: of ``most``, what other processes leave.

    ``cooldown`` is for every model.
    """

    credential: Credential
    most: float
    optimal: float
    granted: float = UNUSABLE
    in_flight: int = 0
    last_used: float = -1.0
    cooldown: Cooldown | None = None


def new_slot(credential: Credential, selector: Selector, rotation: RotationSettings) -> Slot:
    factor = rotation.multipliers.get(credential.priority, rotation.default_multiplier)
    optimal = selector.optimal_concurrent if rotation.optimal_concurrent is None else rotation.optimal_concurrent
    return Slot(credential, most=_limit(rotation.max_concurrent, factor), optimal=_limit(optimal, factor))


def _limit(most: int | None, factor: float) -> float:
    return UNUSABLE if most is None or most < 1 else max(1.0, most * factor // 1)
