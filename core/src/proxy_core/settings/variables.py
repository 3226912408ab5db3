"""Reads variables from the environment and ``.env``, and the short names among them that the core knows.

These are keys and addresses of providers, and the client key.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream
from msgspec.structs import replace
from pydantic import BaseModel

from proxy_core.errors import SettingsError
from proxy_core.settings.base import environment_name
from proxy_core.settings.pasted import decoded
from proxy_core.settings.schema import PluginSettings
from proxy_core.settings.sources import FoundSettings, Variable, Variables

log = logging.getLogger("proxy_core.settings")

#: Sets the key of the client ``default``.
CLIENT_KEY = "PROXY_API_KEY"
#: A folder of files that each stand for a variable.
SECRETS_DIR = "PROXY_SECRETS_DIR"
#: Locate the settings file and folders; they are read before all files.
LOADER_NAMES = ("PROXY_CONFIG", "PROXY_DATA_DIR", SECRETS_DIR)
_API_KEY = re.compile(r"(?P<name>[A-Z0-9_]+?)_API_KEY(?:_(?P<n>[0-9]+))?", re.ASCII)
_API_BASE = re.compile(r"(?P<name>[A-Z0-9_]+)_API_BASE", re.ASCII)


def layers_of(environ: Mapping[str, str], dotenvs: Sequence[Path]) -> list[Variables]:
    """Variables by name in upper case. Later layers override earlier ones: the environment all files."""
    layers: list[tuple[Mapping[str, str | None], Path | None]] = [
        (_dotenv(file), file) for file in dotenvs if file.is_file()
    ]
    return [
        {name.upper(): Variable(name.upper(), value, file) for name, value in values.items() if value is not None}
        for values, file in [*layers, (environ, None)]
    ]


def _dotenv(file: Path) -> Mapping[str, str | None]:
    try:
        bindings = list(parse_stream(StringIO(decoded(file.read_bytes()))))
    except UnicodeDecodeError:
        raise SettingsError([f"{file}: it is neither UTF-8 nor UTF-16"]) from None
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from None
    for one in bindings:
        if one.error:
            line = one.original.line + _lines_before(one.original.string)
            log.warning("%s, line %d: it is not NAME=value, so it sets nothing", file, line)
    return {one.key: one.value for one in bindings if one.key is not None}


def _lines_before(text: str) -> int:
    """How many empty lines a binding begins with."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def with_values(layers: Sequence[Variables], may_be_empty: Sequence[str] = ()) -> dict[str, Variable]:
    """Variables with a value, or whose name begins with one of ``may_be_empty``."""
    prefixes = tuple(may_be_empty)
    return {
        name: variable
        for layer in layers
        for name, variable in layer.items()
        if variable.value or variable.problem or name.startswith(prefixes)
    }


def other_variables(own: Variables, dotenvs: Sequence[str], cwd: Path | None = None) -> dict[str, str]:
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
    theirs = {name: variable.value for name, variable in with_values(layers_of({}, files)).items()}
    return theirs | {name: variable.value for name, variable in own.items()}


def proxy_settings(variables: Variables) -> FoundSettings:
    """What short names set for the whole proxy."""
    variable = variables.get(CLIENT_KEY)
    if variable is None:
        return FoundSettings()
    table = {"clients": {"default": {"key": variable.value}}}
    return FoundSettings(table=table, origins={("clients", "default", "key"): str(variable)})


def provider_settings(variables: Variables, name: str, keys: Sequence[Variable]) -> FoundSettings:
    """What short names set for one provider: ``base_url`` and ``api_keys``; ``keys`` are its variables for them."""
    table: dict[str, object] = {}
    origins: dict[tuple[str, ...], str] = {}
    base = variables.get(f"{environment_name(name)}_API_BASE")
    if base is not None:
        table["base_url"], origins["providers", name, "base_url"] = base.value, str(base)
    problems = [variable.problem for variable in keys if variable.problem]
    if problems:
        raise SettingsError(problems)
    if keys:
        # The same key under two names is one credential.
        table["api_keys"] = list(dict.fromkeys(v.value for v in keys))
        origins["providers", name, "api_keys"] = ", ".join(dict.fromkeys(str(v) for v in keys))
    return FoundSettings(table=table, origins=origins)


def plugin_settings(cls: type[BaseModel], at: tuple[str, ...], variables: Variables) -> FoundSettings:
    """What a plugin's settings take from the variables named in ``PluginSettings.variables``."""
    table: dict[str, object] = {}
    origins: dict[tuple[str, ...], str] = {}
    names = cls.variables if issubclass(cls, PluginSettings) else {}
    for key, candidates in names.items():
        variable = next((variables[name] for name in candidates if name in variables), None)
        if variable is not None:
            table[key], origins[(*at, key)] = variable.value, str(variable)
    return FoundSettings(table=table, origins=origins)


def key_variables(variables: Variables) -> dict[str, list[Variable]]:
    """``<NAME>_API_KEY`` and ``<NAME>_API_KEY_<n>``, by number, for each ``<NAME>``; one for each key of a file."""
    found: dict[str, list[tuple[int, Variable]]] = {}
    for name, variable in variables.items():
        if match := _API_KEY.fullmatch(name):
            found.setdefault(match["name"], []).append((int(match["n"] or 0), variable))
    return {
        name: [one for _, variable in sorted(pairs, key=lambda pair: pair[0]) for one in _each(variable)]
        for name, pairs in found.items()
    }


def _each(variable: Variable) -> list[Variable]:
    values = variable.value.split("\n") if variable.secret is not None else []
    if len(values) < 2:
        return [variable]
    return [replace(variable, value=value, number=number) for number, value in enumerate(values, 1)]


def misplaced(variables: Variables) -> list[str]:
    """A line for each variable that a file cannot set."""
    found = [variables[name] for name in LOADER_NAMES if name in variables]
    return [
        f"{variable.name} has no effect in {variable.file}: set it in the environment of the program"
        for variable in found
        if variable.file is not None
    ]


def is_key_variable(name: str) -> bool:
    """Whether a variable's name looks like that of an API key."""
    return _API_KEY.fullmatch(name) is not None


def based_providers(names: Iterable[str], prefix: str) -> list[str]:
    """Names of providers defined by ``<NAME>_API_BASE``; variables with our own ``prefix`` do not define any."""
    found = (m["name"] for n in names if (m := _API_BASE.fullmatch(n)) and not n.startswith(prefix))
    return sorted(name.lower() for name in found)
