"""How far the counters of old folders were at their last import, so that another one adds only what came since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from proxy_core import UsageRow
from proxy_core.cli.api import private_folder, read_small, write_private

Total = tuple[str, str, str]
_NAME = "imported-counters.json"
_MOST_BYTES = 64_000_000
#: A counter that is lower than before in one of these began anew.
_GROW = ("requests", "prompt", "completion")


class Counters(Struct, frozen=True, kw_only=True):
    """``seen``: by folder, as they were read there. ``stored``: what all imports have added, by key."""

    seen: Mapping[str, Sequence[UsageRow]]
    stored: Mapping[Total, UsageRow]

    def before(self, folder: Path, row: UsageRow) -> UsageRow | None:
        """What of this counter was imported before: nothing if it is another one, or began anew since.

        A folder that was never imported may be a copy of one that was, whose counters have gone on.
        """
        if not self.stored:  # there was no import, or its usage was deleted since
            return None
        own = self._at(str(folder), row)
        if own is not None:
            return own if _has_grown(own, row) else None
        others = [one for other in self.seen if (one := self._at(other, row))]
        known = others or list(filter(None, [self.stored.get(total_of(row))]))
        return max((one for one in known if _has_grown(one, row)), key=lambda one: one.requests, default=None)

    def _at(self, folder: str, row: UsageRow) -> UsageRow | None:
        return next((one for one in self.seen.get(folder, ()) if total_of(one) == total_of(row)), None)

    def with_rows(self, folder: Path, rows: Iterable[UsageRow]) -> Counters:
        """After an import of ``folder``, in which the counters were as in ``rows``."""
        now = {total_of(row): row for row in (*self.seen.get(str(folder), ()), *rows)}
        return Counters(seen={**self.seen, str(folder): list(now.values())}, stored=self.stored)

    def save(self, data_dir: Path) -> None:
        """Raises ``OSError``."""
        path = _file(data_dir)
        private_folder(path.parent)
        write_private(path, msgspec.json.encode(self.seen))


def total_of(row: UsageRow) -> Total:
    return row.provider, row.credential, row.model


def read_counters(data_dir: Path, stored: Mapping[Total, UsageRow]) -> Counters:
    """Raises ``OSError``, ``ValueError``."""
    path = _file(data_dir)
    seen = msgspec.json.decode(read_small(path, _MOST_BYTES), type=dict[str, list[UsageRow]]) if path.exists() else {}
    return Counters(seen=seen, stored=stored)


def _file(data_dir: Path) -> Path:
    return data_dir / "plugins" / "mirrowel" / _NAME


def _has_grown(before: UsageRow, now: UsageRow) -> bool:
    return all(getattr(before, name) <= getattr(now, name) for name in _GROW)
