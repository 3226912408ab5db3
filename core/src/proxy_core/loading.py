"""Reading settings: files and environment become one validated value that remembers its origins.

Precedence: command line, environment, ``.env``, ``proxy-core.toml``, defaults. This is the only
module that reads ``os.environ``. Nested keys in the environment are joined by two underscores:
``PROXY_SERVER__PORT``, ``PROXY_PLUGINS__<PLUGIN>__<KEY>``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource

from proxy_core.errors import SettingsError
from proxy_core.settings import ProviderSettings, ProxySettings

APP = "proxy-core"
FILE_NAME = "proxy-core.toml"
PREFIX = "PROXY_"
DELIMITER = "__"

P = TypeVar("P", bound=BaseModel)


# --- Where values come from --------------------------------------------------------------

#: Names of the system we replace, and the key each one sets.
COMPATIBLE_NAMES: Mapping[str, tuple[str, ...]] = {
    "PROXY_API_KEY": ("clients", "default", "key"),
    "TIMEOUT_CONNECT": ("timeouts", "connect_s"),
    "TIMEOUT_WRITE": ("timeouts", "write_s"),
    "TIMEOUT_POOL": ("timeouts", "pool_s"),
    "TIMEOUT_READ_NON_STREAMING": ("timeouts", "first_event_s"),
    "TIMEOUT_READ_STREAMING": ("timeouts", "idle_s"),
    "PROXY_DEBUG_LOG": ("log", "debug"),
    "OVERRIDE_TEMPERATURE_ZERO": ("sanitizers", "temperature_zero"),
}
_API_KEY = re.compile(r"(?P<name>[A-Z0-9_]+?)_API_KEY(?:_(?P<n>[0-9]+))?", re.ASCII)
_API_BASE = re.compile(r"(?P<name>[A-Z0-9_]+)_API_BASE", re.ASCII)


def environment_name(provider: str) -> str:
    """``my-llm.v2`` is ``MY_LLM_V2`` in the environment."""
    return re.sub(r"[^A-Za-z0-9]", "_", provider).upper()


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable that sets something, and the file it was read from, if any."""

    name: str
    value: str = field(repr=False)
    file: Path | None = None

    def __str__(self) -> str:
        return f"environment variable {self.name}" + (f" ({self.file})" if self.file else "")


@dataclass(frozen=True)
class Sources:
    """The raw inputs, kept to say where a value came from."""

    file: Path | None
    table: Mapping[str, Any] = field(repr=False)
    variables: Mapping[str, Variable] = field(repr=False)

    def provider_table(self, name: str) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
        """One provider's raw settings from the compatible names, and their origins."""
        prefix = environment_name(name)
        found: dict[str, Any] = {}
        origins: dict[tuple[str, ...], str] = {}
        simple = {
            "base_url": f"{prefix}_API_BASE",
            "models": f"{prefix}_MODELS",
            "ignore": f"IGNORE_MODELS_{prefix}",
            "whitelist": f"WHITELIST_MODELS_{prefix}",
        }
        for key, variable in simple.items():
            if variable in self.variables:
                found[key] = self.variables[variable].value
                origins["providers", name, key] = str(self.variables[variable])
        keys = self.key_variables(name)
        if keys:
            # The same key under two names is one credential.
            found["api_keys"] = list(dict.fromkeys(v.value for v in keys))
            origins["providers", name, "api_keys"] = ", ".join(str(v) for v in keys)
        return found, origins

    def key_variables(self, provider: str) -> list[Variable]:
        """``<NAME>_API_KEY`` and ``<NAME>_API_KEY_<n>``, by number."""
        prefix, found = environment_name(provider), []
        for name, variable in self.variables.items():
            match = _API_KEY.fullmatch(name)
            if match and match["name"] == prefix:
                found.append((int(match["n"] or 0), variable))
        return [variable for _, variable in sorted(found, key=lambda pair: pair[0])]

    def key_variables_of_others(self, providers: Sequence[str]) -> list[str]:
        """Variables that look like keys and belong to none of ``providers``: named, never used."""
        taken = {v.name for p in providers for v in self.key_variables(p)} | set(COMPATIBLE_NAMES)
        return sorted(
            n for n in self.variables if _API_KEY.fullmatch(n) and n not in taken and not n.startswith(PREFIX)
        )

    @cached_property
    def based(self) -> list[str]:
        """Provider names given by ``<NAME>_API_BASE``."""
        names = (m["name"] for n in self.variables if (m := _API_BASE.fullmatch(n)) and not n.startswith(PREFIX))
        return sorted(name.lower() for name in names)

    def stray(self) -> list[str]:
        """``PROXY_`` variables that set nothing: usually a misspelling."""
        known = {*ProxySettings.model_fields}
        return sorted(
            name
            for name in self.variables
            if name.startswith(PREFIX)
            and name not in COMPATIBLE_NAMES
            and name not in LOADER_NAMES
            and name.removeprefix(PREFIX).partition(DELIMITER)[0].lower() not in known
        )


#: Variables that say where settings are, read before any settings are.
LOADER_NAMES = ("PROXY_CONFIG", "PROXY_DATA_DIR")


@dataclass(frozen=True)
class LoadedSettings:
    """Validated settings together with where each value came from."""

    settings: ProxySettings
    sources: Sources
    data_dir: Path

    def plugin(self, name: str, cls: type[P]) -> P:
        """Validate ``[plugins.<name>]`` and its environment. Raises ``SettingsError``."""
        table = (self.settings.plugins.model_extra or {}).get(name, {})
        if not isinstance(table, dict):
            raise SettingsError([f"plugins.{name}: a table is wanted here"])
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{name.upper()}{DELIMITER}"
        nested = _nested(cls, prefix, self.sources.variables)
        return _validate(
            cls,
            _merge(_file_table(self.sources, "plugins", name) or table, nested),
            self.sources,
            prefix,
            ("plugins", name),
        )

    def sets_up(self, plugin: str) -> bool:
        """Whether settings say anything to this plugin."""
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{plugin.upper()}{DELIMITER}"
        in_environment = any(name.startswith(prefix) for name in self.sources.variables)
        return in_environment or plugin in (self.settings.plugins.model_extra or {})

    def provider_names(self) -> list[str]:
        """Providers from ``[providers]`` and from ``<NAME>_API_BASE``."""
        in_file = set(self.settings.providers)
        spelled = {environment_name(name) for name in in_file}
        return sorted(in_file | {name for name in self.sources.based if environment_name(name) not in spelled})

    def provider(self, name: str) -> ProviderSettings:
        """One provider's settings, compatible names over the file. Raises ``SettingsError``."""
        found, origins = self.sources.provider_table(name)
        base = self.settings.providers.get(name)
        if not found:
            return base or ProviderSettings()
        explicit = {k: getattr(base, k) for k in base.model_fields_set} if base else {}
        try:
            return ProviderSettings.model_validate({**explicit, **found})
        except ValidationError as error:
            raise SettingsError(
                _problems(error, ProviderSettings, ("providers", name), origins, self.sources)
            ) from None


def secret_values(value: object) -> Iterator[str]:
    """The secrets of settings, however deep."""
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
    compatible, origins = _compatible(sources)
    nested = _nested(ProxySettings, PREFIX, sources.variables)
    # The compatible names are the older form: a nested name beside one is more specific and wins.
    merged = _merge(_merge(_merge(sources.table, compatible), nested), overrides or {})
    settings = _validate(ProxySettings, merged, sources, PREFIX, (), origins)
    data_dir = Path(environ.get("PROXY_DATA_DIR") or platformdirs.user_data_path(APP))
    return LoadedSettings(settings, sources, data_dir)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: {error}"]) from None
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from None


def _variables(environ: Mapping[str, str], dotenvs: Sequence[Path]) -> dict[str, Variable]:
    """Non-empty variables, upper-case names; later files over earlier ones, the process's own over all."""
    found: dict[str, Variable] = {}
    for file in dotenvs:
        if file.is_file():
            values = dotenv_values(file, interpolate=False)
            found.update({name.upper(): Variable(name.upper(), value, file) for name, value in values.items() if value})
    found.update({name.upper(): Variable(name.upper(), value) for name, value in environ.items() if value})
    return found


def _compatible(sources: Sources) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    table: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, path in COMPATIBLE_NAMES.items():
        if name in sources.variables:
            node = table
            for key in path[:-1]:
                node = node.setdefault(key, {})
            node[path[-1]] = sources.variables[name].value
            origins[path] = str(sources.variables[name])
    return table, origins


def _nested(cls: type[BaseModel], prefix: str, variables: Mapping[str, Variable]) -> dict[str, Any]:
    # The source reads a class's fields and configuration, which every pydantic model has; the tables
    # are plain models, so that importing proxy_core does not cost the import of pydantic-settings.
    source = EnvSettingsSource(cast(type[BaseSettings], cls), env_prefix=prefix, env_nested_delimiter=DELIMITER)
    source.config = {**source.config, "enable_decoding": False}  # lists are read by the fields themselves
    source.env_vars = {name.lower(): v.value for name, v in variables.items() if name not in COMPATIBLE_NAMES}
    return source()


def _file_table(sources: Sources, *path: str) -> Mapping[str, Any] | None:
    node: Any = sources.table
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node if isinstance(node, Mapping) else None


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
    at: tuple[str, ...],
    origins: Mapping[tuple[str, ...], str] | None = None,
) -> P:
    try:
        return cls(**data)
    except ValidationError as error:
        raise SettingsError(_problems(error, cls, at, origins or {}, sources, prefix)) from None
    except json.JSONDecodeError as error:
        raise SettingsError([f"{'.'.join(at) or 'settings'}: not JSON: {error}"]) from None


def _problems(
    error: ValidationError,
    cls: type[BaseModel],
    at: tuple[str, ...],
    origins: Mapping[tuple[str, ...], str],
    sources: Sources,
    prefix: str = "",
) -> list[str]:
    """One line per problem: key, what is wrong, where it was set. Values are not shown: they may be secrets."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        local = tuple(str(part) for part in detail["loc"])
        path = at + local
        origin = _origin(path, local, origins, sources, prefix)
        lines.append(f"{'.'.join(path)}: {_message(detail, cls, local)}" + (f" (from {origin})" if origin else ""))
    return lines


def _origin(
    path: tuple[str, ...],
    local: tuple[str, ...],
    origins: Mapping[tuple[str, ...], str],
    sources: Sources,
    prefix: str,
) -> str | None:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    for length in range(len(local), 0, -1):
        name = (prefix + DELIMITER.join(local[:length])).upper()
        if prefix and name in sources.variables:
            return str(sources.variables[name])
    return str(sources.file) if sources.file and path and path[0] in sources.table else None


def _message(detail: ErrorDetails, cls: type[BaseModel], local: tuple[str, ...]) -> str:
    if detail["type"] != "extra_forbidden":
        return detail["msg"]
    known = list(_fields_at(cls, local[:-1]))
    close = difflib.get_close_matches(local[-1], known, n=1)
    return "no such setting" + (f"; did you mean {close[0]!r}?" if close else "")


def _fields_at(cls: type[BaseModel], local: Sequence[str]) -> Iterator[str]:
    """Field names of the table at ``local``, for suggestions."""
    schema = TypeAdapter(cls).json_schema()
    node: dict[str, Any] = schema
    for part in local:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    yield from node.get("properties", {})
