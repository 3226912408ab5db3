"""No file that merely lies in the working directory decides where keys and logins from elsewhere are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from proxy_core.credentials.stored import StoredCredential
from proxy_core.errors import SettingsError
from proxy_core.interfaces import Provider
from proxy_core.plugins.registry import Catalog
from proxy_core.runtime.pools import Stored, rotations
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import DELIMITER, PREFIX, LoadedSettings, Sources, secret_values
from proxy_core.settings.schema import PluginSettings
from proxy_core.settings.sources import Variable
from proxy_core.settings.validation_errors import KeyPath

#: What decides about a provider's connections, besides every address in its plugin's settings.
_OF_PROVIDER = ("base_url", "preset", "proxy", "unix_socket", "ca_file")
_OF_ALL = ("proxy", "ca_file")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
#: Endings of the variables of a login that name servers.
_PLACES = ("_URI", "_URL", "_DOMAIN")
_SECRET = {"api_keys": "the key", "headers": "a header", "query": "a query parameter"}


def check_destinations(
    loaded: LoadedSettings, catalog: Catalog, stored: Stored, *, logging_in: str | None = None
) -> None:
    """Raises ``SettingsError`` if a file that was merely found in the working directory sets an address to which a
    key or login from elsewhere would be sent: a downloaded folder must not send keys to whoever wrote its files.

    ``logging_in``: a provider for which a login from elsewhere is about to be made.
    """
    if not loaded.sources.found_here:
        return
    problems = []
    for name, provider in catalog.providers.items():
        new = f"a new login to {name} belongs elsewhere" if name == logging_in else None
        why = new or _from_elsewhere(loaded.sources, name, stored.get(name, ()))
        if why is not None:
            problems += [_words(setting, file, why) for setting, file in _set_here(loaded, catalog, provider)]
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))


def _words(setting: str, file: Path, why: str) -> str:
    return (
        f"{setting}: {file} was only found in the working directory, and {why}. Set both in one place, "
        "or name a settings file in that folder with --config"
    )


# --- Addresses ---------------------------------------------------------------------------


def _set_here(loaded: LoadedSettings, catalog: Catalog, provider: Provider) -> Iterator[tuple[str, Path]]:
    """The settings that decide where this provider's requests go and that a file found here sets."""
    sources = loaded.sources
    for at, table, keys in _tables(loaded, catalog, provider):
        for key in keys:
            given = _at(loaded.overrides, (*at, key)) is not None  # on the command line, which wins over every file
            if not given and _is_address(key, getattr(table, key), provider.name):
                for file in _files_of(sources, (*at, key), _named(sources, at, table, key)):
                    if file in sources.found_here:
                        yield ".".join((*at, key)), file
    for variable in _places(loaded, catalog, provider):
        if variable.file is not None and variable.file in sources.found_here:
            yield variable.name, variable.file


def _tables(
    loaded: LoadedSettings, catalog: Catalog, provider: Provider
) -> Iterator[tuple[KeyPath, BaseModel, Sequence[str]]]:
    """The tables that concern a provider, by their paths, and the keys to look at."""
    name = provider.name
    yield ("providers", name), loaded.provider(name, rotations(catalog)), _OF_PROVIDER
    yield ("upstream",), loaded.settings.upstream, _OF_ALL
    owners = {
        catalog.owners.get(("proxy_providers", name)),
        catalog.owners.get(("proxy_credential_refreshers", provider.credential_kind)),
    }
    for plugin in catalog.plugins:
        if plugin.name in owners and plugin.info is not None and plugin.info.settings is not None:
            cls = plugin.info.settings
            yield ("plugins", plugin.name), loaded.plugin(plugin.name, cls), tuple(cls.model_fields)


def _is_address(key: str, value: object, provider: str) -> bool:
    if key == "preset":
        return value not in (None, provider)  # a provider's own preset is what it has anyway
    if key in ("unix_socket", "ca_file"):
        return value is not None
    return any("://" in text for text in (str(value), *secret_values(value)))


def _named(sources: Sources, at: KeyPath, table: BaseModel, key: str) -> list[Variable]:
    """The variable of another spelling that sets this key."""
    names: Sequence[str] = ()
    if at[0] == "providers" and key == "base_url":
        names = [f"{environment_name(at[1])}_API_BASE"]
    elif isinstance(table, PluginSettings):
        names = table.variables.get(key, ())
    return [sources.variables[name] for name in names if name in sources.variables][:1]


def _places(loaded: LoadedSettings, catalog: Catalog, provider: Provider) -> Iterator[Variable]:
    """The variables that name a proxy, if they are used, and those that name the servers of a login."""
    variables = loaded.sources.variables
    own, all_ = loaded.provider(provider.name, rotations(catalog)).proxy, loaded.settings.upstream.proxy
    used = own or all_
    if used is not None and used.get_secret_value() == "environment":
        yield from (variables[name] for name in _PROXIES if name in variables)
    refresher = catalog.refreshers.get(provider.credential_kind)
    if refresher is not None and refresher.environment is not None:
        prefix = f"{refresher.environment}_"
        yield from (v for name, v in variables.items() if name.startswith(prefix) and name.endswith(_PLACES))


# --- Keys and logins ---------------------------------------------------------------------


def _from_elsewhere(sources: Sources, name: str, stored: Sequence[StoredCredential]) -> str | None:
    """In words, what a provider sends that does not come from a file found here."""
    for key, what in _SECRET.items():
        named = sources.key_variables(name) if key == "api_keys" else []
        for file in _files_of(sources, ("providers", name, key), named):
            if file not in sources.found_here:
                return f"{what} of {name} is from {file or 'the environment'}"
    if any(not _is_from_here(sources, login) for login in stored):
        return f"{name} has a login or key that is stored elsewhere"
    return None


def _is_from_here(sources: Sources, login: StoredCredential) -> bool:
    """Whether a login consists of variables in files found here, and of nothing else."""
    if login.path is not None and login.path.parent.name != "environment":
        return False
    parts = [v for name, v in sources.variables.items() if name.startswith(login.origin.removesuffix("*"))]
    return bool(parts) and all(variable.file in sources.found_here for variable in parts)


# --- Origins -----------------------------------------------------------------------------


def _files_of(sources: Sources, path: KeyPath, named: Sequence[Variable]) -> list[Path | None]:
    """The files that set ``path`` or something below it; ``None`` is the environment.

    ``named``: its variables of another spelling.
    """
    exact = sources.nested(path)
    if exact is not None:
        return [exact.file]
    below = f"{PREFIX}{DELIMITER.join(path)}{DELIMITER}".upper()
    found = [*named, *(v for name, v in sources.variables.items() if name.startswith(below))]
    for length in range(1, len(path)):
        variable = sources.nested(path[:length])
        if variable is not None and _contains(variable.value, path[length:]):
            found.append(variable)
    files = [variable.file for variable in found]
    in_file = not named and _at(sources.table, path) is not None
    return [*files, sources.file] if in_file else files


def _contains(text: str, path: KeyPath) -> bool:
    with suppress(ValueError):
        return _at(json.loads(text), path) is not None
    return False


def _at(table: Any, path: KeyPath) -> Any:
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table
