"""What is known of one credential, and of one quota group: data only.

Choosing among a thousand credentials has to be quick, so a quota group keeps one number for each:
infinity while it cannot be used, else its priority, how busy it is, and how much it was used. The
smallest number goes next, and finding it is one pass of the interpreter's own ``min``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy_core.interfaces import Credential
from proxy_core.rotation.cooldown import Cooldown

#: A load is ``priority * PRIORITY + busyness * BUSY + used``; exact in a float up to priority 9000.
PRIORITY = 1e12
BUSY = 1e9
UNUSABLE = math.inf

_NOT_LISTED = -1


@dataclass(slots=True, eq=False)
class CredentialState:
    """One credential's row, as long as the process knows the credential.

    ``position`` is its place in every group's ``loads``: the order of settings. A row without one
    is *retired*: settings no longer name the credential, and the row stays only until its last
    lease is returned. ``most`` and ``preferred`` are requests at once; ``granted``: of ``most``,
    what other processes leave. ``cooldown`` is for every model. ``ends_at``: when its token is no
    longer good, monotonic seconds. ``out``: why it is not lent at all; ``for_good``: until
    somebody logs in. ``cycle``: the credentials that fair cycle uses up together with this one.
    """

    id: str
    credential: Credential
    position: int = _NOT_LISTED
    most: float = UNUSABLE
    preferred: float = UNUSABLE
    granted: float = UNUSABLE
    in_flight: int = 0
    last_used: float = -1.0
    cooldown: Cooldown | None = None
    ends_at: float = UNUSABLE
    out: str = ""
    for_good: bool = False
    cycle: Mapping[str, CredentialState] = field(default_factory=dict, repr=False)

    @property
    def priority(self) -> int:
        return self.credential.priority

    @property
    def retired(self) -> bool:
        return self.position == _NOT_LISTED

    def retire(self) -> None:
        self.position = _NOT_LISTED


@dataclass(slots=True)
class Window:
    """A quota window of one credential. Monotonic seconds; ``limit`` is in requests, ``None`` if it is not known.

    ``from_provider``: the provider named it, not settings.
    """

    resets_at: float
    limit: float | None = None
    from_provider: bool = False


@dataclass(slots=True, eq=False)
class QuotaGroup:
    """What a pool knows of one model, or of a group of models that share a quota.

    ``loads`` are by a credential's position, everything else is by its id. ``marks``: since when
    fair cycle sets it aside; all groups have the same where that is for every model. ``capped``:
    until when a configured cap is used up. ``due``: those whose cooldown may be probed. ``dirty``:
    those whose load has to be found anew, besides those that changed since ``tick``.
    """

    name: str
    marks: dict[str, float]
    loads: list[float] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    cooldowns: dict[str, Cooldown] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    capped: dict[str, float] = field(default_factory=dict)
    due: dict[str, CredentialState] = field(default_factory=dict)
    dirty: set[CredentialState] = field(default_factory=set)
    tick: int = 0
    last: str | None = None

    def forget(self, credential: str) -> None:
        for record in (self.marks, self.used, self.cooldowns, self.windows, self.capped, self.due):
            record.pop(credential, None)


def load(priority: int, busy: float, used: int) -> float:
    """Nothing less important ever outweighs something more important."""
    return priority * PRIORITY + min(busy, PRIORITY / BUSY - 1) * BUSY + min(used, BUSY - 1)


def beyond(max_priority: int | None) -> float:
    """The load from which on a credential is of no use to a request that is limited to ``max_priority``."""
    return UNUSABLE if max_priority is None else (max_priority + 1) * PRIORITY
