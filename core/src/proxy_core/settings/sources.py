"""Environment variables under names of their own, and what installed packages read from them.

Settings are read before any plugin is asked, so a package brings such names through an entry point in the group
``proxy_core.settings_sources``: a :class:`SettingsSource`, under the name of the package's plugin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from pydantic import ValidationError

from proxy_core.errors import SettingsError
from proxy_core.messages import repr_without
from proxy_core.settings.plugins_table import PluginsTable
from proxy_core.settings.rotation import RotationSettings

GROUP = "proxy_core.settings_sources"

#: Where each key was set, for error messages.
Origins = Mapping[tuple[str, ...], str]


class Variable(Struct, frozen=True):
    """One environment variable, and the file it was read from, if any.

    ``secret`` is the file that holds the value, about which there may be ``notes``; ``problem`` says why it has none.
    ``number`` says which one it is of the several keys in such a file.
    """

    __repr__ = repr_without("value")

    name: str
    value: str
    file: Path | None = None
    secret: Path | None = None
    problem: str = ""
    notes: Sequence[str] = ()
    number: int | None = None

    @property
    def label(self) -> str:
        """What to call the key in it."""
        return self.name if self.number is None else f"{self.name}:{self.number}"

    def __str__(self) -> str:
        if self.secret is not None:
            return f"{self.secret} for {self.name}"
        return f"environment variable {self.name}" + (f" ({self.file})" if self.file else "")


Variables = Mapping[str, Variable]


class FoundSettings(Struct, frozen=True, kw_only=True):
    """A raw table, the origin of each of its keys by its path within all settings, and a line for each variable that
    is meant for this table but has no effect."""

    __repr__ = repr_without("table")

    table: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=dict)
    unused: Sequence[str] = ()


class AskedProvider(Struct, frozen=True, kw_only=True):
    """The provider whose settings a source is asked for.

    ``providers`` are the names of all that are known, this one included. ``file`` is what its variables override, and
    ``above`` what overrides them; ``suggested`` is its plugin's rotation, and ``selector`` the one in effect if none
    of these names one.
    """

    __repr__ = repr_without("file", "above")

    name: str
    providers: Collection[str]
    file: Mapping[str, Any]
    above: Mapping[str, Any]
    suggested: RotationSettings
    selector: str


class SettingsSource(Struct, frozen=True, kw_only=True):
    """Settings from variables, which override the file and are overridden by ``PROXY_<TABLE>__<KEY>``. Pure.

    Variables come by their names in upper case; empty ones are left out, unless their names begin with one of
    ``may_be_empty``. ``proxy`` returns settings of the whole proxy,
    ``provider`` those below ``[providers.<name>]``. ``unmatched`` returns a line for each variable that is
    meant for a provider, but for none of these. ``names`` are names that it reads although they begin with ``PROXY_``.
    """

    proxy: Callable[[Variables], FoundSettings]
    provider: Callable[[Variables, AskedProvider], FoundSettings]
    unmatched: Callable[[Variables, Collection[str]], Sequence[str]]
    names: Collection[str] = ()
    may_be_empty: Sequence[str] = ()


def entry_points(group: str) -> Sequence[metadata.EntryPoint]:
    """Those of all installed packages. Reading them takes 10 ms, so it is repeated only after an installation."""
    return _by_group(tuple((folder, _changed_at(folder)) for folder in sys.path)).get(group, ())


def _changed_at(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=1)
def _by_group(folders: tuple[tuple[str, int | None], ...]) -> Mapping[str, Sequence[metadata.EntryPoint]]:
    found = metadata.entry_points()
    return {group: tuple(found.select(group=group)) for group in found.groups}


def installed_sources(plugins: Mapping[str, Any]) -> dict[str, SettingsSource]:
    """Each plugin's, by the plugin's name, except of those that ``plugins``, the table, keeps out.

    Raises ``SettingsError`` if one cannot be imported.
    """
    found: dict[str, SettingsSource] = {}
    try:
        table = PluginsTable.model_validate({key: plugins[key] for key in ("allowed", "disabled") if key in plugins})
    except ValidationError:
        return {}  # reported when all settings are validated
    for entry in sorted(entry_points(GROUP), key=lambda entry: entry.name):
        if entry.name in table.disabled or (table.allowed is not None and entry.name not in table.allowed):
            continue
        try:
            found[entry.name] = entry.load()
        except (Exception, SystemExit) as error:  # a package's import may fail in any way
            problem = f"plugin {entry.name}: its settings cannot be read: {type(error).__name__}: {error}"
            raise SettingsError([problem]) from error
    return found
