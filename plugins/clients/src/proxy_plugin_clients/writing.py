"""Writes a client's files: shown first, the old content kept, in one step, never for others to read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from stat import S_IMODE
from typing import Any

import click
from msgspec import Struct

from proxy_core import private_folder, repr_without
from proxy_core.cli.api import read_small, write_private
from proxy_plugin_clients.endpoint import Key
from proxy_plugin_clients.jsonc import leaves
from proxy_plugin_clients.merging import at, clear, merged, read
from proxy_plugin_clients.program import ConfigFile, Member

_HIDDEN = "********"


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
        """What changes, by member: the file may have secrets anywhere, so of the old values only models are shown."""
        found = read(self.file.format, self.before.decode("utf-8-sig"))
        yield f"--- {self.file.path}"
        yield f"+++ {self.file.path}"
        for member in self.file.removes:
            if at(found, member) is not None:
                yield f"-{'.'.join(member)} = {_HIDDEN}  (it would win over the new values)"
        for member, value in leaves(self.file.values):
            old = at(found, member)
            if old is not None and old != clear(value):
                yield f"-{'.'.join(member)} = {_shown(old) if names_model(member) else _HIDDEN}"
            if old != clear(value):
                yield f"+{'.'.join(member)} = {_HIDDEN if isinstance(value, Key) else _shown(value)}"


def names_model(member: Member) -> bool:
    return member[-1].lower().endswith("model") or member == ("model", "name")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


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
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.path} was left as it is: it is not a text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file.path} was left as it is: {error}") from None


def write(change: Change) -> Path | None:
    """Returns the copy of the old content, if there was any. Raises ``ClickException``."""
    try:
        if (read_small(change.path) if change.path.exists() else b"") != change.before:
            raise click.ClickException(f"{change.path} was changed in the meantime: run this again")
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
