"""What was imported before: what is removed here afterwards does not return with the next import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from proxy_core.cli.api import private_folder, read_small, write_private

_NAME = "imported.json"


class Imported(Struct, frozen=True, kw_only=True):
    """``credentials``: the marks of keys and accounts. ``settings``: the keys that were written, by file."""

    credentials: Sequence[str] = ()
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def plus(self, credentials: Iterable[str], file: Path, settings: Iterable[str]) -> Imported:
        keys = sorted({*self.settings.get(str(file), ()), *settings})
        return Imported(
            credentials=sorted({*self.credentials, *credentials}), settings={**self.settings, str(file): keys}
        )

    def save(self, data_dir: Path) -> None:
        """Raises ``OSError``."""
        path = _file(data_dir)
        private_folder(path.parent)
        write_private(path, msgspec.json.encode(self))


def read_imported(data_dir: Path) -> Imported:
    """Raises ``OSError``, ``ValueError``."""
    path = _file(data_dir)
    return msgspec.json.decode(read_small(path), type=Imported) if path.exists() else Imported()


def _file(data_dir: Path) -> Path:
    return data_dir / "plugins" / "mirrowel" / _NAME
