"""Where an import goes: the settings file, the vault and the store of this installation, as a start would use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import click
from msgspec import Struct
from msgspec.structs import replace

from proxy_core import SetupError, SyncRequest, UsageRow
from proxy_core.cli.api import (
    COUNTED,
    Catalog,
    Fingerprints,
    LoadedSettings,
    StoredCredential,
    Vault,
    catalog_of,
    decoded,
    digest,
    fingerprints_of,
    load,
    open_store,
    private_folder,
    read_small,
    user_file,
    vault_of,
    write_private,
)
from proxy_plugin_mirrowel.importing.counters import Counters, Total, read_counters, total_of
from proxy_plugin_mirrowel.importing.imported import Imported, read_imported
from proxy_plugin_mirrowel.importing.settings import Setting
from proxy_plugin_mirrowel.importing.toml import present, with_settings

T = TypeVar("T")
#: The client of imported usage in `proxy-core usage`.
CLIENT = "mirrowel"


class Target(Struct, frozen=True, kw_only=True, dict=True):
    """``file`` need not exist yet. What was there is read once, before anything is written."""

    file: Path
    loaded: LoadedSettings
    catalog: Catalog
    vault: Vault
    fingerprint: Fingerprints
    #: The settings with which the store is opened.
    state: LoadedSettings
    before: Imported

    def was_removed(self, wanted: StoredCredential) -> bool:
        """Whether this key or account was imported before; ask ``there`` first."""
        return not set(self.before.credentials).isdisjoint(self._marks(wanted))

    def was_unset(self, setting: Setting) -> bool:
        """Whether this setting was imported before into this file, which has it no longer."""
        gone = self.file.exists() and present(self.loaded.sources.table, setting.path) is None
        return gone and setting.key in self.before.settings.get(str(self.file), ())

    def remember(self, credentials: Sequence[StoredCredential], settings: Sequence[Setting]) -> None:
        """Raises ``OSError``."""
        marks = [mark for one in credentials for mark in self._marks(one)]
        self.before.plus(marks, self.file, [one.key for one in settings]).save(self.loaded.data_dir)

    def there(self, wanted: StoredCredential) -> str | None:
        """Where this key or account is already, in words."""
        if wanted.provider not in self._known:
            self._known[wanted.provider] = self._places(wanted.provider)
        places = self._known[wanted.provider]
        return next((places[mark] for mark in self._marks(wanted) if mark in places), None)

    @cached_property
    def _known(self) -> dict[str, Mapping[str, str]]:
        return {}

    def _places(self, provider: str) -> Mapping[str, str]:
        """Where each key and account of the provider is, by its marks."""
        keys = self.loaded.provider(provider, self.catalog.rotations).api_keys
        words = f"in the settings of {provider}"
        found = {f"{provider} {self.fingerprint(entry.key.get_secret_value())}": words for entry in keys}
        stored = {mark: f"stored as {one.name}" for one in self.vault.all(provider) for mark in self._marks(one)}
        return {**found, **stored}

    def _marks(self, stored: StoredCredential) -> list[str]:
        """What is the same if it is the same key or account of the provider."""
        account = [self.fingerprint(f"account {stored.identity}")] if stored.identity else []
        marks = [stored.credential(self.fingerprint).id, *account, *filter(None, [digest(stored.refresh_token)])]
        return [f"{stored.provider} {mark}" for mark in marks]

    def text(self) -> str:
        """The settings file as it is; empty if there is none. Raises ``OSError``."""
        return decoded(read_small(self.file)) if self.file.exists() else ""

    def write_settings(self, settings: Sequence[Setting]) -> None:
        """Raises ``OSError``, ``ValueError``."""
        text = with_settings(self.text(), settings)
        path = self.file.resolve()
        private_folder(path.parent)
        write_private(path, text.encode())

    def store(self, credentials: Sequence[StoredCredential]) -> list[StoredCredential]:
        """Add each under a free name. Raises ``OSError``, ``ValueError``, ``VaultProblem``."""
        return [self.vault.add(replace(one, name=self.vault.free_name(one.provider, one.name))) for one in credentials]

    def counters(self) -> Counters:
        """What was imported before. Raises ``ClickException``."""
        stored = _awaited(self._usage())
        return _read(lambda: read_counters(self.loaded.data_dir, stored))

    async def _usage(self) -> dict[Total, UsageRow]:
        store = await open_store(self.state)
        try:
            rows = await store.usage(date.min, date.max)
        finally:
            await store.close()
        found: dict[Total, UsageRow] = {}
        for row in rows:
            if row.client == CLIENT:
                key = total_of(row)
                found[key] = summed_rows(found[key], row) if key in found else row
        return found

    def add_usage(self, folder: Path, rows: Sequence[UsageRow], now: Sequence[UsageRow]) -> None:
        """One exchange with the store, so that all rows are added or none; ``now``: the counters that they are from.

        Raises ``ClickException``, ``OSError``.
        """
        counters = self.counters()
        _awaited(self._add_usage(rows))
        counters.with_rows(folder, now).save(self.loaded.data_dir)

    async def _add_usage(self, rows: Sequence[UsageRow]) -> None:
        store = await open_store(self.state)
        try:
            await store.sync(SyncRequest(holder=f"import-{uuid4().hex}", number=1, usage=rows))
        finally:
            await store.close()


def _read(read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"what was imported before cannot be read: {error}") from error


def _awaited(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except SetupError:
        raise
    except Exception as error:  # whatever a store raises; its message may hold a password
        why = f"the state store cannot be used ({type(error).__name__})"
        raise click.ClickException(f"{why}: mend it, or leave the files of usage out, and run it again") from error


def summed_rows(one: UsageRow, other: UsageRow, sign: int = 1) -> UsageRow:
    """``one`` with the counts of ``other`` added, or with the sign -1 taken away, but nothing below zero."""
    counts: Mapping[str, float] = {name: max(0, getattr(one, name) + sign * getattr(other, name)) for name in COUNTED}
    return UsageRow(
        day=one.day,
        client=one.client,
        provider=one.provider,
        credential=one.credential,
        model=one.model,
        **counts,  # type: ignore[arg-type]  # the fields are numbers
    )


def open_target(config: Path | None, old: Path, scratch: Path | None = None, *, again: bool = False) -> Target:
    """The settings file is the one that a start would use elsewhere, never one in the old folder unless it is named.

    ``scratch``: a folder for what a start generates, as far as it is not there yet. ``again``: as if nothing had been
    imported before. Raises ``ClickException``, ``SetupError``.
    """
    file = config or load(cwd=user_file().parent).sources.file or user_file()
    if config is None and file.resolve().is_relative_to(old):
        file = user_file()
    loaded = load(file, cwd=file.parent) if file.is_file() else without_file()
    catalog = catalog_of(loaded)
    return Target(
        file=file.absolute(),
        loaded=loaded,
        catalog=catalog,
        vault=vault_of(loaded, catalog),
        fingerprint=fingerprints_of(_generating(loaded, "state.key", scratch)),
        state=_generating(loaded, "state.db", scratch),
        before=Imported() if again else _read(lambda: read_imported(loaded.data_dir)),
    )


def _generating(loaded: LoadedSettings, name: str, scratch: Path | None) -> LoadedSettings:
    there = scratch is None or (loaded.data_dir / name).exists()
    return loaded if there else replace(loaded, data_dir=scratch)


def without_file(overrides: Mapping[str, Any] | None = None) -> LoadedSettings:
    """What variables alone set: where usage is stored, for one; and ``overrides``."""
    with TemporaryDirectory() as folder:
        empty = Path(folder) / user_file().name
        empty.touch()
        return load(empty, cwd=empty.parent, overrides=overrides)
