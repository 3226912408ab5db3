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
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from proxy_core.errors import SettingsError
from proxy_core.settings.base import environment_name
from proxy_core.settings.legacy_env import (
    COMPATIBLE_NAMES,
    WITHOUT_EFFECT,
    Origins,
    Variable,
    Variables,
    based_providers,
    is_key_variable,
    key_variables,
    provider_table,
    proxy_table,
)
from proxy_core.settings.legacy_rotation_env import MAY_BE_EMPTY, RotationTable, rotation_readings, rotation_table
from proxy_core.settings.rotation import RotationSettings
from proxy_core.settings.schema import PluginSettings, ProviderSettings, ProxySettings
from proxy_core.settings.validation_errors import KeyPath, problems

APP = "proxy-core"
FILE_NAME = "proxy-core.toml"
PREFIX = "PROXY_"
DELIMITER = "__"
_MAX_RUNTIME_DIR = 80

P = TypeVar("P", bound=BaseModel)

#: The rotation settings that plugins supply for their providers, by provider.
Rotations = Mapping[str, RotationSettings]
NO_ROTATIONS: Rotations = MappingProxyType({})


# --- Where values come from --------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """The raw inputs, kept so that messages can name the origin of a value."""

    file: Path | None
    table: Mapping[str, Any] = field(repr=False)
    variables: Variables = field(repr=False)

    def key_variables(self, provider: str) -> list[Variable]:
        """The variables that hold a provider's keys, in the order of their numbers."""
        return key_variables(self.variables, provider)

    def key_variables_of_others(self, providers: Sequence[str]) -> list[str]:
        """Variables that look like keys but belong to none of ``providers``: reported, never used."""
        taken = {v.name for p in providers for v in self.key_variables(p)} | set(COMPATIBLE_NAMES)
        return sorted(n for n in self.variables if is_key_variable(n) and n not in taken and not n.startswith(PREFIX))

    @cached_property
    def based(self) -> list[str]:
        """Names of the providers that ``<NAME>_API_BASE`` variables define."""
        return based_providers(self.variables, PREFIX)

    @cached_property
    def compatible_origins(self) -> Origins:
        """Where a compatible name set something for the whole proxy."""
        return proxy_table(self.variables)[1]

    def nested(self, path: KeyPath) -> Variable | None:
        """The variable of our own spelling that sets exactly this key."""
        name = (PREFIX + DELIMITER.join(path)).upper()
        return None if name in COMPATIBLE_NAMES else self.variables.get(name)

    def stray(self) -> list[str]:
        """``PROXY_`` variables that set nothing, usually because of a misspelling."""
        known = {*ProxySettings.model_fields}
        return sorted(
            name
            for name in self.variables
            if name.startswith(PREFIX)
            and name not in COMPATIBLE_NAMES
            and name not in LOADER_NAMES
            and name.removeprefix(PREFIX).partition(DELIMITER)[0].lower() not in known
        )


#: Variables that locate the settings file and the data folder; read before the settings.
LOADER_NAMES = ("PROXY_CONFIG", "PROXY_DATA_DIR")


@dataclass(frozen=True)
class LoadedSettings:
    """Validated settings together with the origin of each value."""

    settings: ProxySettings
    sources: Sources
    data_dir: Path
    #: What overrides the legacy names: nested names and the command line, not yet validated.
    above: Mapping[str, Any] = field(repr=False)
    #: What the command line says, which wins over everything.
    overrides: Mapping[str, Any] = field(repr=False)

    @property
    def runtime_dir(self) -> Path:
        """The folder of the control sockets of this installation's processes; socket paths have to be short."""
        folder = self.data_dir.absolute() / "run"
        if len(str(folder)) <= _MAX_RUNTIME_DIR:
            return folder
        digest = hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()
        return Path(tempfile.gettempdir()) / f"proxy-core-{digest}"

    def plugin(self, name: str, cls: type[P]) -> P:
        """Validate ``[plugins.<name>]`` and its environment. Raises ``SettingsError``."""
        table = (self.settings.plugins.model_extra or {}).get(name, {})
        if not isinstance(table, dict):
            raise SettingsError([f"plugins.{name}: must be a table"])
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{name.upper()}{DELIMITER}"
        nested = _nested(cls, prefix, self.sources.variables)
        named, origins = _named(cls, ("plugins", name), self.sources.variables)
        below = _merge(_mapping(self.sources.table, "plugins", name) or table, named)
        above = _merge(nested, _mapping(self.overrides, "plugins", name))
        return _validate(
            cls,
            _merge(below, above),
            self.sources,
            prefix,
            ("plugins", name),
            {path: origin for path, origin in origins.items() if path[-1] not in above},
        )

    def sets_up(self, plugin: str) -> bool:
        """Whether any setting of this plugin is set."""
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{plugin.upper()}{DELIMITER}"
        in_environment = any(name.startswith(prefix) for name in self.sources.variables)
        return in_environment or plugin in (self.settings.plugins.model_extra or {})

    def provider_names(self) -> list[str]:
        """Providers from ``[providers]`` and from ``<NAME>_API_BASE``."""
        in_file = set(self.settings.providers)
        spelled = {environment_name(name) for name in in_file}
        return sorted(in_file | {name for name in self.sources.based if environment_name(name) not in spelled})

    def provider(self, name: str, plugins: Rotations = NO_ROTATIONS) -> ProviderSettings:
        """One provider's settings; the legacy names override the file. Raises ``SettingsError``.

        ``plugins`` holds the rotation settings that plugins supply for all existing providers. It is not part of
        the result, but it determines which provider a variable belongs to, which selector is in effect and what a
        quota group is called.
        """
        below = _mapping(self.sources.table, "providers", name)
        above = _mapping(self.above, "providers", name)
        found, origins = provider_table(self.sources.variables, name)
        rotation = self._rotation(name, plugins)
        if rotation.table:
            found["rotation"] = rotation.table
        if not found:
            return self.settings.providers.get(name) or ProviderSettings()
        try:
            return ProviderSettings.model_validate(_merge(_merge(below, found), above))
        except ValidationError as error:
            origin = partial(_origin, origins={**origins, **rotation.origins}, sources=self.sources, prefix="")
            raise SettingsError(problems(error, ProviderSettings, ("providers", name), origin)) from None

    def compatible_origins(self, provider: str, plugins: Rotations = NO_ROTATIONS) -> Origins:
        """Where a compatible name set something of one provider; ``plugins`` as above."""
        _, origins = provider_table(self.sources.variables, provider)
        return {**origins, **self._rotation(provider, plugins).origins}

    def without_effect(self, plugins: Rotations) -> list[str]:
        """A line for each legacy variable that sets nothing, with the reason; ``plugins`` as above."""
        variables = self.sources.variables
        _, unmatched = rotation_readings(variables, self._known(plugins))
        return [
            *(f"{name} has no effect: {why}" for name, why in WITHOUT_EFFECT.items() if name in variables),
            *(f"{name} is not used: no provider or setting has that name" for name in unmatched),
            *(line for name in sorted(plugins) for line in self._rotation(name, plugins).idle),
        ]

    def _rotation(self, name: str, plugins: Rotations) -> RotationTable:
        readings, _ = rotation_readings(self.sources.variables, {*self._known(plugins), name})
        below = _mapping(self.sources.table, "providers", name, "rotation")
        groups = {*plugins.get(name, RotationSettings()).quota_groups, *below.get("quota_groups", ())}
        return rotation_table(readings, name, self._selector(name, plugins), below, groups)

    def _known(self, plugins: Rotations) -> set[str]:
        return {*self.provider_names(), *plugins}

    def _selector(self, name: str, plugins: Rotations) -> str:
        """The selector that will be in effect."""
        mode = self.sources.variables.get(f"ROTATION_MODE_{environment_name(name)}")
        return (
            _mapping(self.above, "providers", name, "rotation").get("selector")
            or (mode.value.strip().lower() if mode else None)
            or _mapping(self.sources.table, "providers", name, "rotation").get("selector")
            or plugins.get(name, RotationSettings()).selector
            or self.settings.routing.selector
        )


def secret_values(value: object) -> Iterator[str]:
    """All secrets in settings, at any depth."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from secret_values(dict(value))
    elif isinstance(value, Mapping):
        yield from secret_values(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from secret_values(inner)


# --- Loading -----------------------------------------------------------------------------


def config_file(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """``--config``, ``PROXY_CONFIG``, the working directory, the platform's configuration folder."""
    chosen = explicit or (Path(environ["PROXY_CONFIG"]) if environ.get("PROXY_CONFIG") else None)
    if chosen is not None:
        if not chosen.is_file():
            raise SettingsError([f"no settings file at {chosen}"])
        return chosen
    for folder in (cwd, platformdirs.user_config_path(APP)):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


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
    sources = Sources(file, _read_toml(file) if file else {}, _variables(environ, dotenvs))
    data_dir = Path(environ.get("PROXY_DATA_DIR") or platformdirs.user_data_path(APP))
    return _loaded(sources, overrides or {}, data_dir)


def load_nothing_but(overrides: Mapping[str, Any], data_dir: Path) -> LoadedSettings:
    """The defaults with ``overrides``, whatever files and variables say. Raises ``SettingsError``."""
    return _loaded(Sources(None, {}, {}), overrides, data_dir)


def _loaded(sources: Sources, overrides: Mapping[str, Any], data_dir: Path) -> LoadedSettings:
    compatible, origins = proxy_table(sources.variables)
    nested = _nested(ProxySettings, PREFIX, sources.variables)
    # The legacy names are the older form. A nested name for the same key is more specific and wins.
    above = _merge(nested, overrides)
    merged = _merge(_merge(sources.table, compatible), above)
    settings = _validate(ProxySettings, merged, sources, PREFIX, (), origins)
    return LoadedSettings(settings, sources, data_dir, above, overrides)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: {error}"]) from None
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from None


def _variables(environ: Mapping[str, str], dotenvs: Sequence[Path]) -> dict[str, Variable]:
    """Variables with a value, by name in upper case. Later files override earlier ones, the environment all files."""
    layers: list[tuple[Mapping[str, str | None], Path | None]] = [
        (dotenv_values(file, interpolate=False), file) for file in dotenvs if file.is_file()
    ]
    return {
        name.upper(): Variable(name.upper(), value, file)
        for values, file in [*layers, (environ, None)]
        for name, value in values.items()
        if value or (value is not None and name.upper().startswith(MAY_BE_EMPTY))
    }


def other_variables(sources: Sources, dotenvs: Sequence[str], cwd: Path | None = None) -> dict[str, str]:
    """Variables of another program's ``.env`` files, overridden by ours; ``dotenvs`` is as in ``KeyFile``.

    Unreadable files are skipped.
    """
    cwd = cwd or Path.cwd()
    found = [
        folder / name
        for name in dotenvs
        for folder in ([Path()] if name.startswith(("~", "/")) else [cwd, *cwd.parents])
    ]
    files = [path for path in (file.expanduser() for file in reversed(found)) if os.access(path, os.R_OK)]
    theirs = {name: variable.value for name, variable in _variables({}, files).items()}
    return theirs | {name: variable.value for name, variable in sources.variables.items()}


def _nested(cls: type[BaseModel], prefix: str, variables: Variables) -> dict[str, Any]:
    # The source reads a class's fields and configuration, which every pydantic model has; the tables
    # are plain models, so that importing proxy_core does not cost the import of pydantic-settings.
    source = EnvSettingsSource(cast(type[BaseSettings], cls), env_prefix=prefix, env_nested_delimiter=DELIMITER)
    source.config = {**source.config, "enable_decoding": False}  # lists are read by the fields themselves
    source.env_vars = {name.lower(): v.value for name, v in variables.items() if name not in COMPATIBLE_NAMES}
    return source()


def _named(cls: type[BaseModel], at: KeyPath, variables: Variables) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """What a plugin's settings take from the variables named in ``PluginSettings.variables``."""
    found: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    names = cls.variables if issubclass(cls, PluginSettings) else {}
    for key, candidates in names.items():
        variable = next((variables[name] for name in candidates if name in variables), None)
        if variable is not None:
            found[key], origins[(*at, key)] = variable.value, str(variable)
    return found, origins


def _mapping(table: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The table at ``path``; empty where there is none."""
    node: Any = table
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


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
