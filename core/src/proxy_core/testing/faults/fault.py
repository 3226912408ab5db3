"""A fault: what the upstream does, and what the client must see nevertheless."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from proxy_core.testing.faults.seen import Seen
from proxy_core.testing.faults.wire import Wire
from proxy_core.testing.upstream import Script


class Scene(Struct, frozen=True, kw_only=True):
    """Where a fault is played: the format, whether the client streams, and the time (for dates in headers)."""

    wire: Wire
    stream: bool
    now: datetime

    @property
    def kind(self) -> dict[str, str]:
        return self.wire.headers(self.stream)


class Fault(Struct, frozen=True, kw_only=True):
    """``script`` is the upstream's response, instead of the good one, to what it ``hits``: the ``first`` attempt, every
    attempt with the first ``credential``, or ``every`` one.

    ``must`` says what the client must see; ``problem(seen, text)`` is what is wrong with what it did see, given the
    text of a good response, or ``None``. ``requests`` are sent one after the other. ``leaves``: the client leaves as
    soon as it has this: the request sent, or the first content received. ``wait_s``: the upstream's own words for how
    long the credential must rest. ``needs`` names what the format's samples must have for it.
    """

    name: str
    group: str
    why: str
    must: str
    script: Callable[[Scene], Script]
    problem: Callable[[Sequence[Seen], str], str | None]
    hits: Literal["first", "credential", "every"] = "first"
    modes: Sequence[bool] = (True, False)
    requests: int = 1
    leaves: Literal["", "sent", "content"] = ""
    wait_s: float | None = None
    needs: Literal["", "plain", "failure", "accents", "calls"] = ""


class Stage(Struct, kw_only=True):
    """One fault as it is played: gives each attempt its response, and remembers the credentials."""

    scene: Scene
    fault: Fault | None
    keys: list[str] = field(default_factory=list)

    def script(self, key: str) -> Script:
        self.keys.append(key)
        fault = self.fault
        if fault is None:
            return self.scene.wire.whole(self.scene.stream)
        hit = {"first": len(self.keys) == 1, "credential": key == self.keys[0], "every": True}[fault.hits]
        return fault.script(self.scene) if hit else self.scene.wire.whole(self.scene.stream)
