"""What a pool knows of one model, or of one group of models that share a quota: a lane.

Choosing among a thousand credentials has to be quick, so a lane keeps one number for each:
infinity while it cannot be used, else its priority, how busy it is, and how much it was used. The
smallest number goes next, and finding it is one pass of the interpreter's own ``min``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from proxy_core.rotation.cooldown import Cooldown

#: A load is ``priority * PRIORITY + busyness * BUSY + used``; exact in a float up to priority 9000.
PRIORITY = 1e12
BUSY = 1e9
UNUSABLE = math.inf


@dataclass(slots=True)
class Window:
    """A quota window of one credential. Monotonic seconds; ``limit`` is in requests, ``None`` if nobody said.

    ``told``: by the provider, not by settings.
    """

    resets_at: float
    limit: float | None = None
    told: bool = False


@dataclass(slots=True)
class Lane:
    """Everything here is by a credential's place in the pool.

    ``marks``: since when fair cycle sets it aside; all lanes have the same where that is for every
    model. ``capped``: until when an own cap is used up. ``due``: those whose rest may be tried.
    ``dirty``: those whose load has to be found anew, besides those that changed since ``tick``.
    """

    name: str
    loads: list[float]
    used: list[int]
    marks: dict[int, float]
    cooldowns: dict[int, Cooldown] = field(default_factory=dict)
    windows: dict[int, Window] = field(default_factory=dict)
    capped: dict[int, float] = field(default_factory=dict)
    due: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)
    tick: int = 0
    last: int | None = None


def new_lane(name: str, size: int, marks: dict[int, float]) -> Lane:
    return Lane(name=name, loads=[UNUSABLE] * size, used=[0] * size, marks=marks, dirty=set(range(size)))


def load(priority: int, busy: float, used: int) -> float:
    """Nothing less important ever outweighs something more important."""
    return priority * PRIORITY + min(busy, PRIORITY / BUSY - 1) * BUSY + min(used, BUSY - 1)


def beyond(max_priority: int | None) -> float:
    """The load from which on a credential is of no use to who may have ``max_priority`` at most."""
    return UNUSABLE if max_priority is None else (max_priority + 1) * PRIORITY
