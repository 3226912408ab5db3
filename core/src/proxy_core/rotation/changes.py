"""What other processes should hear of a ledger: which rests changed, and how much was used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where something rests: a credential for one lane, a credential altogether, the provider as a whole."""

    index: int | None = None
    lane: str | None = None


PROVIDER = Place()


class News:
    """``at``: when each place last changed, monotonic seconds. ``places`` and ``used`` have not been told yet."""

    def __init__(self) -> None:
        self.at: dict[Place, float] = {}
        self.places: set[Place] = set()
        self.used: dict[tuple[int, str], int] = {}
        #: Called when something changed that others should know at once.
        self.tell: Callable[[], None] = _nobody

    def changed(self, place: Place, now: float) -> None:
        self.at[place] = now
        self.places.add(place)
        self.tell()

    def count(self, index: int, lane: str, requests: int) -> None:
        self.used[index, lane] = self.used.get((index, lane), 0) + requests

    def silence(self) -> None:
        """Somebody else tells the news from now on."""
        self.places, self.used, self.tell = set(), {}, _nobody

    def forget(self, lane: str) -> None:
        """A lane nobody asks for any more."""
        for place in [place for place in self.at if place.lane == lane]:
            del self.at[place]
            self.places.discard(place)


def _nobody() -> None:
    """Nobody shares this ledger."""
