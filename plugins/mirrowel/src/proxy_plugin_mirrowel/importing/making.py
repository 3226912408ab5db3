"""An import in the making: what is planned so far, and which lines have been spoken about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from proxy_core import Variable
from proxy_core.cli.api import StoredCredential
from proxy_plugin_mirrowel.importing.old_folder import OldFolder
from proxy_plugin_mirrowel.importing.refusals import refusals
from proxy_plugin_mirrowel.importing.rows import Row, Verdict
from proxy_plugin_mirrowel.importing.settings import Setting
from proxy_plugin_mirrowel.importing.target import Target
from proxy_plugin_mirrowel.importing.toml import present

_REMOVED = "it was imported before and is gone since; --again takes it again"


class Making:
    def __init__(self, old: OldFolder, target: Target) -> None:
        self.old, self.target = old, target
        self.settings: list[Setting] = []
        self._proposed: list[tuple[Setting, Sequence[str]]] = []
        self.credentials: list[StoredCredential] = []
        #: Imported before and gone since; what was used with them was counted under their names.
        self.removed: list[StoredCredential] = []
        self.rows: list[Row] = list(old.rows)
        self._told: dict[str, list[tuple[Verdict, str]]] = {}

    def say(self, name: str, verdict: Verdict, note: str) -> None:
        """A row about a variable. One that sets several keys has one row for all that are imported."""
        told = self._told.setdefault(name, [])
        if not any(before == verdict == "imported" for before, _ in told):
            self.rows.append(Row(what=self.old.places[name], verdict=verdict, note=note))
        told.append((verdict, note))

    def is_told(self, name: str) -> bool:
        return name in self._told

    def untold(self, names: Sequence[str]) -> list[Variable]:
        """Those that are set, and that nothing has spoken about."""
        found = [self.old.variables[name] for name in names if name in self.old.variables and not self.is_told(name)]
        return [variable for variable in found if variable.value.strip()]

    def set(self, setting: Setting, what: Sequence[str] = ()) -> None:
        """Propose it. ``what`` are the rows about it, if it is not from variables."""
        if not setting.problem and self.target.was_unset(setting):
            setting = replace(setting, problem=_REMOVED)
        self._proposed.append((setting, what))
        for name in setting.names:
            self._told.setdefault(name, [])

    def settle(self) -> None:
        """Plan every setting that is proposed, unless the file has it already or a start would refuse it."""
        new = [s for s, _ in self._proposed if not s.problem and present(self._table, s.path) is None]
        refused = refusals(new, self.credentials, self.target)
        for setting, what in self._proposed:
            verdict, note = self._verdict(setting, refused.get(setting.path, setting.problem))
            if verdict == "imported":
                self.settings.append(setting)
            for name in setting.names:
                self.say(name, verdict, note)
            self.rows += [Row(what=one, verdict=verdict, note=note) for one in what]

    @property
    def _table(self) -> Mapping[str, Any]:
        return self.target.loaded.sources.table

    def _verdict(self, setting: Setting, problem: str) -> tuple[Verdict, str]:
        if problem:
            return "differs", f"{setting.key}: {problem}"
        now, file = present(self._table, setting.path), self.target.file.name
        if now is None:
            return "imported", f"{setting.key} in {file}"
        if now == setting.value:
            return "there already", f"{setting.key} in {file}"
        return "differs", f"{file} has another value for {setting.key}, which stays"

    def store(self, stored: StoredCredential) -> tuple[Verdict, str]:
        """Plan a key or login, unless it is there already."""
        if there := self.target.there(stored):
            return "there already", there
        known = [*self.credentials, *self.removed]
        if same := [one for one in known if one.provider == stored.provider and _same(one, stored)]:
            return "no meaning here", f"the same account as in {same[0].origin.removeprefix('copied from ')}"
        if self.target.was_removed(stored):
            self.removed.append(stored)
            return "differs", _REMOVED
        self.credentials.append(stored)
        return "imported", f"a {'key' if stored.kind == 'api_key' else 'login'} of {stored.provider}, in the vault"


def _same(one: StoredCredential, other: StoredCredential) -> bool:
    if one.identity is not None and one.identity == other.identity:
        return True
    return one.access_token == other.access_token and one.refresh_token == other.refresh_token
