"""One credential's place in a pool."""

from __future__ import annotations

from dataclasses import dataclass

from proxy_core.interfaces import Credential, Selector
from proxy_core.rotation.cooldown import Cooldown
from proxy_core.rotation.lane import UNUSABLE
from proxy_core.settings.rotation import RotationSettings


@dataclass(slots=True)
class Slot:
    """``most`` and ``optimal`` are requests at once; ``granted``: of ``most``, what other processes leave.

    ``cooldown`` is for every model. ``ends_at``: when its token is no longer good, monotonic
    seconds. ``out``: why it is not lent at all; ``for_good``: until somebody logs in.
    """

    credential: Credential
    most: float
    optimal: float
    granted: float = UNUSABLE
    in_flight: int = 0
    last_used: float = -1.0
    cooldown: Cooldown | None = None
    ends_at: float = UNUSABLE
    out: str = ""
    for_good: bool = False


def ends_at(credential: Credential, epoch: float) -> float:
    """When a renewable token ends. What cannot be renewed is used for as long as its provider takes it."""
    if credential.expires_at is None or credential.refresh_token is None:
        return UNUSABLE
    return credential.expires_at.timestamp() - epoch


def new_slot(credential: Credential, selector: Selector, rotation: RotationSettings, epoch: float) -> Slot:
    factor = rotation.multipliers.get(credential.priority, rotation.default_multiplier)
    optimal = (
        selector.preferred_concurrency if rotation.preferred_concurrency is None else rotation.preferred_concurrency
    )
    most = _limit(rotation.max_concurrent, factor)
    return Slot(credential, most=most, optimal=_limit(optimal, factor), ends_at=ends_at(credential, epoch))


def _limit(most: int | None, factor: float) -> float:
    return UNUSABLE if most is None or most < 1 else max(1.0, most * factor // 1)
