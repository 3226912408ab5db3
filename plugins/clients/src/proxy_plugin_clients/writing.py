"""Writes a client's files: shown first, the old content kept, in one step, never for others to read."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from stat import S_IMODE

import click
from msgspec import Struct

from proxy_core import private_folder, repr_without
from proxy_core.cli.api import read_small, write_private
from proxy_plugin_clients.merging import merged
from proxy_plugin_clients.program import ConfigFile

_VALUE = re.compile(r"^([+ -](?:export +)?\w*(?:KEY|TOKEN|SECRET|PASSWORD)\w* *=).*$", re.IGNORECASE)


class Change(Struct, frozen=True, kw_only=True):
    """What a file contains and will contain. ``path`` is the file itself, not a link to it."""

    __repr__ = repr_without("before", "after")

    file: ConfigFile
    path: Path
    before: bytes
    after: bytes
    mode: int = 0o600
    exists: bool = False

    @property
    def difference(self) -> Iterator[str]:
        """Without the values of keys, in a file of variables."""
        old, new = (data.decode("utf-8-sig").splitlines() for data in (self.before, self.after))
        name = str(self.file.path)
        for line in difflib.unified_diff(old, new, name, name, lineterm=""):
            yield _VALUE.sub(r"\1********", line) if self.file.format == "env" else line


def change_of(file: ConfigFile) -> Change:
    """Raises ``ClickException`` if the file cannot be read, or must not be written."""
    path = file.path
    try:
        if file.has_key and path.is_symlink():
            raise click.ClickException(
                f"{path} is a link: the key would be written to wherever it leads; nothing was written"
            )
        path = path.resolve()
        exists = path.exists()
        before = read_small(path) if exists else b""
        mode = 0o600 if file.has_key or not exists else S_IMODE(path.stat().st_mode)
        return Change(file=file, path=path, before=before, after=merged(file, before), mode=mode, exists=exists)
    except OSError as error:
        raise click.ClickException(f"{file.path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file.path} was left as it is: {error}") from None


def write(change: Change) -> Path | None:
    """Returns the copy of the old content, if there was any. Raises ``ClickException``."""
    try:
        private_folder(change.path.parent)
        backup = _kept(change) if change.exists else None
        write_private(change.path, change.after, change.mode)
    except OSError as error:
        raise click.ClickException(f"{change.path} could not be written: {error.strerror}") from None
    return backup


def _kept(change: Change) -> Path:
    """Readable by its owner alone: it may contain keys that the file itself protected in some other way."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for number in range(100):
        backup = change.path.with_name(f"{change.path.name}.{stamp}{f'-{number}' if number else ''}.bak")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with open(descriptor, "wb") as out:
            out.write(change.before)
        return backup
    raise FileExistsError(17, "there is no free name for a copy")
