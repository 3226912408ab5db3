"""What a process has to send to its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.interfaces import Count, SharedValue, UsageRow


class Unsent(Struct, frozen=True):
    """The content of one request, unchanged until the store has applied it.

    ``suspect``: it is part of a request that the store rejected.
    """

    number: int = 0
    values: Mapping[str, SharedValue] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    usage: Sequence[UsageRow] = ()
    suspect: bool = False

    def halves(self) -> list[Unsent]:
        """Two parts of about the same size; none if this is a single item."""
        items = [*self.values, *self.counts, *self.usage]
        if len(items) < 2:
            return []
        middle = len(items) // 2
        return [self._part(0, middle), self._part(middle, len(items))]

    def _part(self, start: int, end: int) -> Unsent:
        values, counts = len(self.values), len(self.values) + len(self.counts)
        return replace(
            self,
            values=dict(islice(self.values.items(), start, end)),
            counts=dict(islice(self.counts.items(), max(0, start - values), max(0, end - values))),
            usage=self.usage[max(0, start - counts) : max(0, end - counts)],
            suspect=True,
        )

    def __str__(self) -> str:
        """Its items by their names, for the log."""
        rows = [f"usage of {row.client or '-'} at {row.provider}/{row.model}" for row in self.usage]
        return ", ".join([*map(repr, self.values), *map(repr, self.counts), *rows]) or "an update"
