"""Reads settings from files and the environment into one validated value that remembers its origins.

Precedence: command line, environment, ``.env``, ``proxy-core.toml``, defaults. This is the only
module that reads ``os.environ``. Nested keys in the environment are joined by two underscores:
``PROXY_SERVER__PORT``, ``PROXY_PLUGINS__<PLUGIN>__<KEY>``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import platformdirs
from msgspec import Struct, field
from pydantic import BaseModel, ValidationError

from proxy_core.errors import SettingsError
from proxy_core.messages import repr_without
from proxy_core.settings.base import environment_name
from proxy_core.settings.legacy_names import PLUGIN, unread
from proxy_core.settings.pasted import bare_key, read_toml
from proxy_core.settings.places import APP, config_file, found_here
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import ProviderSettings, ProxySettings
from proxy_core.settings.secret_files import Named, secrets_read, with_secrets
from proxy_core.settings.sources import (
    AskedProvider,
    FoundSettings,
    Origins,
    SettingsSource,
    Variable,
    Variables,
    installed_sources,
)
from proxy_core.settings.tables import DELIMITER, PREFIX, merged, nested_table, table_at
from proxy_core.settings.validation_errors import KeyPath, problems, usable
from proxy_core.settings.variables import (
    CLIENT_KEY,
    LOADER_NAMES,
    SECRETS_DIR,
    based_providers,
    is_key_variable,
    key_variables,
    layers_of,
    misplaced,
    plugin_settings,
    provider_settings,
    proxy_settings,
    with_values,
)

REPLACED = PLUGIN  # knows the system that this proxy replaces
_MAX_RUNTIME_DIR = 80

P = TypeVar("P", bound=BaseModel)
T = TypeVar("T")

#: The rotation settings that plugins supply for their providers, by provider.
Rotations = Mapping[str, RotationSettings]
NO_ROTATIONS: Rotations = MappingProxyType({})
#: Settings of which none is set: those of most of the many providers that plugins ask for.
_NOTHING, _NO_ROTATION = ProviderSettings(), RotationSettings()


# --- Where values come from --------------------------------------------------------------


class Sources(Struct, frozen=True, dict=True):
    """The raw inputs, kept so that messages can name the origin of a value."""

    __repr__ = repr_without("table", "variables")

    file: Path | None
    table: Mapping[str, Any]
    variables: Variables
    #: What other packages read from variables, by plugin.
    others: Mapping[str, SettingsSource] = field(default_factory=dict)
    #: Files in the working directory that were read without being named on the command line or in the environment.
    found_here: frozenset[Path] = frozenset()

    #: Who names the files of secrets that the settings file refers to.
    by: Named = field(default_factory=Named)

    def key_variables(self, provider: str) -> list[Variable]:
        """The variables that hold a provider's keys, in the order of their numbers."""
        return self._keys.get(environment_name(provider), [])

    def variables_by_key(self, provider: str) -> dict[str, Variable]:
        """The variable that holds each of a provider's keys; of several for the same key, the first."""
        return {bare_key(variable.value): variable for variable in reversed(self.key_variables(provider))}

    @cached_property
    def _keys(self) -> dict[str, list[Variable]]:
        return key_variables(self.variables)

    def key_variables_of_others(self, providers: Sequence[str]) -> list[str]:
        """Variables that look like keys but belong to none of ``providers``: reported, never used."""
        taken = {v.name for p in providers for v in self.key_variables(p)}
        return sorted(n for n in self.variables if is_key_variable(n) and n not in taken and not n.startswith(PREFIX))

    @cached_property
    def based(self) -> list[str]:
        """Names of the providers that ``<NAME>_API_BASE`` variables define."""
        return based_providers(self.variables, PREFIX)

    @cached_property
    def named(self) -> FoundSettings:
        """What variables under names of their own set for the whole proxy."""
        others = [other.proxy(self.variables) for other in self.others.values()]
        return _joined([proxy_settings(self.variables), *others])

    def nested(self, path: KeyPath) -> Variable | None:
        """The variable of our own spelling that sets exactly this key."""
        return self.variables.get((PREFIX + DELIMITER.join(path)).upper())

    def notes(self) -> list[str]:
        """What to say about files of secrets."""
        return list(dict.fromkeys([*self.by.notes, *(note for v in self.variables.values() for note in v.notes)]))

    def stray(self) -> list[str]:
        """``PROXY_`` variables that set nothing, usually because of a misspelling."""
        tables = {*ProxySettings.model_fields}
        read = {*LOADER_NAMES, CLIENT_KEY}.union(*(other.names for other in self.others.values()))
        return sorted(
            name
            for name in self.variables
            if name.startswith(PREFIX)
            and name not in read
            and name.removeprefix(PREFIX).partition(DELIMITER)[0].lower() not in tables
        )


def _joined(found: Sequence[FoundSettings]) -> FoundSettings:
    """The later ones win."""
    table: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for one in found:
        table = merged(table, one.table)
        origins.update(one.origins)
    return FoundSettings(table=table, origins=origins, unused=[line for one in found for line in one.unused])


class LoadedSettings(Struct, frozen=True, dict=True):
    """Validated settings together with the origin of each value."""

    __repr__ = repr_without("above", "overrides")

    settings: ProxySettings
    sources: Sources
    data_dir: Path
    #: What overrides variables under names of their own: nested names and the command line, not yet validated.
    above: Mapping[str, Any]
    #: What the command line says, which wins over everything.
    overrides: Mapping[str, Any]

    @property
    def vault_dir(self) -> Path:
        """The folder of stored keys and logins, with one folder per provider."""
        return self.data_dir / "credentials"

    @property
    def runtime_dir(self) -> Path:
        """The folder of the control sockets of this installation's processes; socket paths have to be short."""
        folder = self.data_dir.absolute() / "run"
        if len(str(folder)) <= _MAX_RUNTIME_DIR:
            return folder
        digest = hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"proxy-core-{digest}"

    def plugin(self, name: str, cls: type[P]) -> P:
        """``[plugins.<name>]`` and its environment, validated once. Raises ``SettingsError``."""
        return self._once((name, cls), NO_ROTATIONS, lambda: self._plugin(name, cls))

    def _plugin(self, name: str, cls: type[P]) -> P:
        table = (self.settings.plugins.model_extra or {}).get(name, {})
        if not isinstance(table, dict):
            raise SettingsError([f"plugins.{name}: must be a table"])
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{name.upper()}{DELIMITER}"
        wrong: list[str] = []
        own = table_at(self.sources.table, "plugins", name)
        file = secrets_read(cls, own, self.sources.by, f"plugins.{name}.", wrong)
        if wrong:
            raise SettingsError(wrong)
        named = plugin_settings(cls, ("plugins", name), self.sources.variables)
        below = merged(file or table, named.table)
        above = merged(nested_table(cls, prefix, self.sources.variables), table_at(self.overrides, "plugins", name))
        return _validate(
            cls,
            merged(below, above),
            self.sources,
            prefix,
            ("plugins", name),
            {path: origin for path, origin in named.origins.items() if path[-1] not in above},
        )

    def sets_up(self, plugin: str) -> bool:
        """Whether any setting of this plugin is set."""
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{plugin.upper()}{DELIMITER}"
        in_environment = any(name.startswith(prefix) for name in self.sources.variables)
        return in_environment or plugin in (self.settings.plugins.model_extra or {})

    @cached_property
    def provider_names(self) -> Sequence[str]:
        """Providers from ``[providers]`` and from ``<NAME>_API_BASE``."""
        in_file = set(self.settings.providers)
        spelled = {environment_name(name) for name in in_file}
        return sorted(in_file | {name for name in self.sources.based if environment_name(name) not in spelled})

    def provider(self, name: str, plugins: Rotations = NO_ROTATIONS) -> ProviderSettings:
        """One provider's settings; variables override the file. Raises ``SettingsError``.

        ``plugins`` holds the rotation settings that plugins supply for all existing providers. It is not part of
        the result, but it determines which provider a variable belongs to, which selector is in effect and what a
        quota group is called.
        """
        return self._once(("provider", name, bool(plugins)), plugins, lambda: self._provider(name, plugins))

    def _provider(self, name: str, plugins: Rotations) -> ProviderSettings:
        found = self._from_variables(name, plugins)
        if not found.table:
            return self.settings.providers.get(name, _NOTHING)
        below, above = self._file_table(name), table_at(self.above, "providers", name)
        try:
            return ProviderSettings.model_validate(merged(merged(below, found.table), above))
        except ValidationError as error:
            origin = partial(_origin, origins=found.origins, sources=self.sources, prefix="")
            raise SettingsError(problems(error, ProviderSettings, ("providers", name), origin)) from None

    def problems(self, providers: Iterable[str]) -> list[str]:
        """What is wrong with the settings of these providers, a line each."""
        found: dict[str, None] = {}
        for name in providers:
            try:
                self.provider(name)
            except SettingsError as error:
                found |= dict.fromkeys(error.problems)
        return list(found)

    def named_origins(self, provider: str, plugins: Rotations = NO_ROTATIONS) -> Origins:
        """Where a variable under a name of its own set something of one provider; ``plugins`` as above."""
        return self._from_variables(provider, plugins).origins

    def without_effect(self, plugins: Rotations) -> list[str]:
        """A line for each variable that sets nothing although its name means something; ``plugins`` as above."""
        sources, known = self.sources, self._known(plugins)
        return [
            *unread(sources.variables, sources.others),
            *misplaced(sources.variables),
            *sources.named.unused,
            *(line for other in sources.others.values() for line in other.unmatched(sources.variables, known)),
            *(line for name in sorted(plugins) for line in self._from_variables(name, plugins).unused),
        ]

    @cached_property
    def _made(self) -> dict[tuple[object, ...], tuple[Rotations, Any]]:
        return {}

    def _once(self, key: tuple[object, ...], plugins: Rotations, make: Callable[[], T]) -> T:
        """The start asks several times for each provider; ``plugins`` are the same object until the next reload."""
        kept = self._made.get(key)
        if kept is None or kept[0] is not plugins:
            kept = self._made[key] = plugins, make()
        return cast(T, kept[1])

    def _from_variables(self, name: str, plugins: Rotations) -> FoundSettings:
        """What variables under names of their own set for one provider."""
        return self._once(("variables", name, bool(plugins)), plugins, lambda: self._read_variables(name, plugins))

    def _read_variables(self, name: str, plugins: Rotations) -> FoundSettings:
        asked = AskedProvider(
            name=name,
            providers={*self._known(plugins), name},
            file=self._file_table(name),
            above=table_at(self.above, "providers", name),
            suggested=plugins.get(name, _NO_ROTATION),
            selector=self.settings.routing.selector,
        )
        variables, keys = self.sources.variables, self.sources.key_variables(name)
        others = (other.provider(variables, asked) for other in self.sources.others.values())
        return _joined([provider_settings(variables, name, keys), *others])

    def _file_table(self, name: str) -> Mapping[str, Any]:
        return table_at(self.sources.table, "providers", name)

    def _known(self, plugins: Rotations) -> set[str]:
        return {*self.provider_names, *plugins}


class WrongSettings(SettingsError):
    """``rest`` is what they are without the keys that are known to be wrong: enough to look for what else is."""

    def __init__(self, problems: Sequence[str], rest: LoadedSettings) -> None:
        super().__init__(problems)
        self.rest = rest


# --- Loading -----------------------------------------------------------------------------


def load(
    config: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> LoadedSettings:
    """Read all sources once. ``overrides`` (command line) win over everything.

    Raises ``SettingsError`` with one line per problem.
    """
    environ = os.environ if environ is None else environ
    cwd = cwd or Path.cwd()
    file = config_file(config, environ, cwd)
    dotenvs = [folder / ".env" for folder in dict.fromkeys([file.parent if file else cwd, cwd])]
    here = found_here(file, config, environ, cwd)
    data_dir = Path(environ.get("PROXY_DATA_DIR") or platformdirs.user_data_path(APP))
    wrong: list[str] = []
    layers = with_secrets(layers_of(environ, dotenvs), environ.get(SECRETS_DIR), here, wrong)
    return _loaded(file, layers, overrides or {}, data_dir, wrong, here)


def load_nothing_but(overrides: Mapping[str, Any], data_dir: Path) -> LoadedSettings:
    """The defaults with ``overrides``, whatever files and variables say. Raises ``SettingsError``."""
    return _loaded(None, [], overrides, data_dir, [])


def _loaded(
    file: Path | None,
    layers: Sequence[Variables],
    overrides: Mapping[str, Any],
    data_dir: Path,
    wrong: list[str],
    found_here: frozenset[Path] = frozenset(),
) -> LoadedSettings:
    """``wrong``: what is known to be. Raises ``SettingsError`` with that and everything else."""
    by = Named(file=file, found=file in found_here)
    table = secrets_read(ProxySettings, read_toml(file), by, "", wrong) if file else {}
    above = merged(nested_table(ProxySettings, PREFIX, with_values(layers)), overrides)
    others = installed_sources(table_at(merged(table, above), "plugins")) if layers else {}
    variables = with_values(layers, [prefix for other in others.values() for prefix in other.may_be_empty])
    sources = Sources(file, table, variables, others, found_here, by)
    # Variables under names of their own come first: a nested name for the same key is more specific and wins.
    everything = merged(merged(table, sources.named.table), above)
    try:
        settings = _validate(ProxySettings, everything, sources, PREFIX, (), sources.named.origins)
    except SettingsError as error:
        wrong += error.problems
        settings = ProxySettings(**usable(ProxySettings, everything))
        # Sources of other names read the tables as they are, and rely on their types.
        table, above = usable(ProxySettings, table), usable(ProxySettings, above)
        sources = Sources(file, table, variables, others, found_here, by)
    loaded = LoadedSettings(settings, sources, data_dir, above, overrides)
    if wrong:
        # Which plugins there are is not known yet; what a .env names is meant for this program.
        spelled = {environment_name(name) for name in loaded.provider_names}
        keys = key_variables({name: variable for name, variable in variables.items() if variable.file})
        named = [*loaded.provider_names, *(name.lower() for name in keys if name not in spelled)]
        raise WrongSettings(list(dict.fromkeys([*wrong, *loaded.problems(named)])), loaded)
    return loaded


def _validate(
    cls: type[P],
    data: Mapping[str, Any],
    sources: Sources,
    prefix: str,
    at: KeyPath,
    origins: Mapping[KeyPath, str] | None = None,
) -> P:
    try:
        return cls(**data)
    except ValidationError as error:
        origin = partial(_origin, origins=origins or {}, sources=sources, prefix=prefix)
        raise SettingsError(problems(error, cls, at, origin)) from None
    except json.JSONDecodeError as error:
        raise SettingsError([f"{'.'.join(at) or 'settings'}: not JSON: {error}"]) from None


def _origin(
    path: KeyPath, local: KeyPath, *, origins: Mapping[KeyPath, str], sources: Sources, prefix: str
) -> str | None:
    """Where a key, or its nearest enclosing table, was set."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    for length in range(len(local), 0, -1):
        name = (prefix + DELIMITER.join(local[:length])).upper()
        if prefix and name in sources.variables:
            return str(sources.variables[name])
    return str(sources.file) if sources.file and path and path[0] in sources.table else None
