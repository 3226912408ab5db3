"""The state of one credential and of one quota group: data only.

Choosing among a thousand credentials has to be fast, so a quota group keeps one number for each, its
load: infinity while the credential is unusable, otherwise its priority, concurrency and usage combined.
The smallest load wins, and one pass of the interpreter's own ``min`` finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct, field

from proxy_core.interfaces import Credential
from proxy_core.messages import repr_without
from proxy_core.rotation.cooldown import Cooldown

#: A load is ``priority * PRIORITY + busyness * BUSY + used``; exact in a float up to priority 9000.
PRIORITY = 1e12
BUSY = 1e9
UNUSABLE = math.inf

T = TypeVar("T")

_NOT_LISTED = -1
_NONE: Mapping[str, Cooldown] = MappingProxyType({})


class CredentialState(Struct, eq=False):
    """One credential's row, for as long as the process knows the credential.

    ``position`` is its index in every group's ``loads``, the order of settings. A row without one is
    *retired*: settings no longer name the credential, and the row is dropped once its last lease is
    returned. ``max_concurrent`` and ``preferred`` limit concurrent requests; ``granted`` is this
    process's share of ``max_concurrent``. ``cooldown`` covers every model. ``expires_at``: when its
    token expires, monotonic seconds. ``unavailable``: why it is not leased at all; ``needs_login``: until its owner
    logs in; ``needs_setup``: until the operator sets something up; ``retry_at``: at least until
    then. ``note``: what the operator should know.
    ``cycle``: the credentials with which it shares a fair cycle.
    """

    __repr__ = repr_without("cycle")

    id: str
    credential: Credential
    position: int = _NOT_LISTED
    max_concurrent: float = UNUSABLE
    preferred: float = UNUSABLE
    granted: float = UNUSABLE
    in_flight: int = 0
    last_used: float = -1.0
    cooldown: Cooldown | None = None
    expires_at: float = UNUSABLE
    unavailable: str = ""
    needs_login: bool = False
    needs_setup: bool = False
    retry_at: float = -UNUSABLE
    note: str = ""
    cycle: Mapping[str, CredentialState] = field(default_factory=dict)

    @property
    def priority(self) -> int:
        return self.credential.priority

    @property
    def stuck(self) -> bool:
        """Whether waiting for it is useless."""
        return self.needs_login or self.needs_setup

    @property
    def retired(self) -> bool:
        return self.position == _NOT_LISTED

    def retire(self) -> None:
        self.position = _NOT_LISTED


class Window(Struct):
    """A quota window of one credential. Monotonic seconds; ``limit`` counts requests, ``None`` if unknown.

    ``from_provider``: the provider reported it; it does not come from settings. ``number``: what distinguishes it from
    the window before and the one after, the same in every process; ``None``: its requests are not counted together.
    ``slides_s``: the length of a sliding window; ``before``: the requests of the window before, part of which count.
    """

    resets_at: float
    limit: float | None = None
    from_provider: bool = False
    number: int | None = None
    slides_s: float | None = None
    before: int = 0


class Reserved(Struct, frozen=True):
    """What is left of a credential is kept for some clients (globs) until then; ``UNUSABLE``: it is so always."""

    clients: tuple[str, ...]
    until: float


class QuotaGroup(Struct, eq=False):
    """The state of one model, or of a group of models that share a quota.

    ``loads`` are indexed by a credential's position, everything else by its id; they are changed by :meth:`put_load`
    alone, which keeps count of how many are at the lowest. ``of_model``: cooldowns of single
    models of the group, by model and then credential; ``loads`` do not include them. ``marks``: since when
    fair cycle sets a credential aside; all groups share them if fair cycle covers every model.
    ``spells``: the requests of each credential in the last hour, as :mod:`proxy_core.rotation.pace` counts them.
    ``capped``: until when a configured cap applies. ``reserved``: credentials that are kept for some clients.
    ``due``: credentials whose cooldown may be probed. ``unusable``: credentials whose load is ``UNUSABLE``. ``dirty``:
    those whose load is outdated, besides those that changed since ``tick``.
    """

    name: str
    marks: dict[str, float]
    loads: list[float] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)
    spells: dict[str, dict[int, float]] = field(default_factory=dict)
    cooldowns: dict[str, Cooldown] = field(default_factory=dict)
    of_model: dict[str, dict[str, Cooldown]] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    capped: dict[str, float] = field(default_factory=dict)
    reserved: dict[str, Reserved] = field(default_factory=dict)
    due: dict[str, CredentialState] = field(default_factory=dict)
    unusable: dict[str, CredentialState] = field(default_factory=dict)
    dirty: set[CredentialState] = field(default_factory=set)
    tick: int = 0
    last: str | None = None
    _low: float = UNUSABLE
    _at_low: int = 0
    _low_from: int = 0

    def forget(self, credential: str) -> None:
        for record in (self.marks, self.used, self.spells, self.cooldowns, self.windows, self.capped, self.reserved):
            record.pop(credential, None)
        self.due.pop(credential, None)
        self.unusable.pop(credential, None)
        for model in list(self.of_model):
            self.put(model, credential, None)

    def put_load(self, position: int, load: float) -> None:
        old = self.loads[position]
        if load == old:
            return
        self.loads[position] = load
        if load < self._low:
            self._low, self._at_low, self._low_from = load, 1, position
        elif load == self._low:
            self._at_low += 1
            self._low_from = min(self._low_from, position)
        elif old == self._low:
            self._at_low -= 1

    def to_probe(self, low: float) -> CredentialState | None:
        """A credential due for a probe, unless one of a better priority is usable: ``low`` is the lowest load."""
        due = self.due.values()
        return next((row for row in due if self.loads[row.position] // PRIORITY <= low // PRIORITY), None)

    @property
    def lowest(self) -> float:
        """The lowest load. All loads are searched only when the last one at the lowest has changed."""
        if not self._at_low:
            self._low = min(self.loads, default=UNUSABLE)
            self._at_low, self._low_from = self.loads.count(self._low), 0
        return self._low

    @property
    def lowest_position(self) -> int:
        """The first position with the lowest load. Positions before the last one found are not searched again."""
        self._low_from = self.loads.index(self.lowest, self._low_from)
        return self._low_from

    def reset_loads(self, size: int) -> None:
        """Loads for so many credentials, none of which is usable as yet."""
        self.loads, self._low, self._at_low, self._low_from = [UNUSABLE] * size, UNUSABLE, size, 0
        for record in (self.due, self.unusable, self.reserved):
            record.clear()

    def of(self, model: str) -> Mapping[str, Cooldown]:
        """The cooldowns of this one model, by credential."""
        return self.of_model.get(model, _NONE)

    def named_cooldowns(self, credential: str) -> dict[str, Cooldown]:
        """A credential's cooldowns, by the name of the model or group that each concerns."""
        found = {model: cooldowns[credential] for model, cooldowns in self.of_model.items() if credential in cooldowns}
        return found | ({self.name: self.cooldowns[credential]} if credential in self.cooldowns else {})

    def closed(self, model: str, now: float) -> Set[str]:
        """The credentials whose cooldown of this one model lets no request pass."""
        return {name for name, cooldown in self.of(model).items() if cooldown.closed(now)}

    def put(self, model: str, credential: str, cooldown: Cooldown | None) -> None:
        """Replace the cooldown of one model with one credential; ``None`` ends it."""
        cooldowns = self.of_model.pop(model, {})
        cooldowns.pop(credential, None)
        if cooldown is not None:
            cooldowns[credential] = cooldown
        if cooldowns:
            self.of_model[model] = cooldowns


def load(priority: int, busy: float, used: int) -> float:
    """Combine the three so that a less important one never outweighs a more important one."""
    return priority * PRIORITY + min(busy, PRIORITY / BUSY - 1) * BUSY + min(used, BUSY - 1)


def beyond(max_priority: int | None) -> float:
    """Loads from here on are out of reach for a request limited to ``max_priority``."""
    return UNUSABLE if max_priority is None else (max_priority + 1) * PRIORITY


def put(record: dict[str, T], name: str, value: T | None) -> None:
    """Replace what a record says of a credential; ``None`` drops it."""
    if value is None:
        record.pop(name, None)
    else:
        record[name] = value
