"""What a file that merely lies in the working directory may not decide: where keys and logins from elsewhere are sent,
and who can reach a proxy that has such keys. What else it decides about access, guards and records is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from proxy_core.credentials.stored import StoredCredential
from proxy_core.errors import SettingsError
from proxy_core.jsons import loads
from proxy_core.plugins.plugin import Plugin
from proxy_core.plugins.registry import Catalog
from proxy_core.runtime.pools import Stored
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import LoadedSettings, Sources
from proxy_core.settings.schema import PluginSettings, ProxySettings
from proxy_core.settings.secrets import secret_values
from proxy_core.settings.sources import Variable
from proxy_core.settings.tables import DELIMITER, PREFIX
from proxy_core.settings.validation_errors import KeyPath

#: What decides about a provider's connections, besides every address in its plugin's settings.
_OF_PROVIDER = ("base_url", "preset", "proxy", "unix_socket", "ca_file")
_OF_ALL = ("proxy", "ca_file")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
#: Beside keys from elsewhere, no such value: it would let other machines or web pages use the keys, or requests read
#: the operator's network, or it would send usage to another server, or lock new logins with a key of its author's.
_OPENING: Mapping[KeyPath, Callable[[ProxySettings], bool]] = {
    ("server", "host"): lambda settings: not settings.server.is_loopback,
    ("server", "cors_origins"): lambda settings: bool(settings.server.cors_origins),
    ("upstream", "fetch_links"): lambda settings: settings.upstream.fetch_links == "anywhere",
    ("credentials", "vault_keys"): lambda settings: bool(settings.credentials.vault_keys),
    ("state", "url"): lambda settings: not _is_local(settings.state.url),
}
#: Further settings about access, guards and records. People do keep them in such files, so they are only reported.
_REPORTED = ("clients", "admin", "models", "sanitizers", "records", "plugins")
_OF_KEYS = ("proxy_providers", "proxy_credential_refreshers")
#: Endings of the variables of a login that name servers.
_PLACES = ("_URI", "_URL", "_DOMAIN")
#: A table by its path, and the keys in it to look at.
_Keys = tuple[KeyPath, BaseModel, Sequence[str]]
_SECRET = {"api_keys": "the key", "headers": "a header", "query": "a query parameter"}


def check_destinations(loaded: LoadedSettings, catalog: Catalog, stored: Stored, *, adding: str | None = None) -> None:
    """Raises ``SettingsError`` if a file that was merely found in the working directory sets an address to which a
    key or login from elsewhere would be sent: a downloaded folder must not send keys to its author.

    ``adding``: a provider for which a key or login is about to be stored elsewhere; perhaps one that it brings about.
    """
    if not loaded.sources.found_here:
        return
    problems = []
    for name, why in _reasons(loaded.sources, catalog, stored, adding):
        problems += [_words(setting, file, why) for setting, file in _set_here(loaded, catalog, name)]
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))


def check_access(loaded: LoadedSettings, catalog: Catalog, stored: Stored, *, adding: str | None = None) -> None:
    """Raises ``SettingsError`` if a file that was merely found in the working directory opens a proxy that has keys or
    logins from elsewhere, or sends what it knows to another server."""
    _, why = next(_reasons(loaded.sources, catalog, stored, adding), ("", None))
    if loaded.sources.found_here and why is not None:
        problems = [_words(setting, file, why) for setting, file in _opened_here(loaded, catalog)]
        if problems:
            raise SettingsError(problems)


def decided_here(loaded: LoadedSettings, catalog: Catalog) -> Iterator[str]:
    """A line for each file that was merely found there and decides about access, guards or records."""
    found: dict[Path, list[str]] = {}
    for path in [*_OPENING, *(path for table in _REPORTED for path in _entries(loaded, catalog, table))]:
        for file in dict.fromkeys(_set_by(loaded, path, _named_below(loaded.sources, path))):
            found.setdefault(file, []).append(".".join(path))
    for file, settings in found.items():
        yield f"{file} was found in the working directory, and sets {', '.join(settings)}"


def _words(setting: str, file: Path, why: str) -> str:
    return (
        f"{setting}: {file} was only found in the working directory, and {why}. Set both in one place, "
        "or name a settings file in that folder with --config"
    )


# --- Addresses ---------------------------------------------------------------------------


def _set_here(loaded: LoadedSettings, catalog: Catalog, name: str) -> Iterator[tuple[str, Path]]:
    """The settings that decide where this provider's requests go and that a file found here sets."""
    provider = catalog.providers.get(name)
    kind = provider.credential_kind if provider is not None else "api_key"
    yield from _addresses(loaded, _tables(loaded, catalog, name, kind), name)
    for variable in _places(loaded, catalog, name, kind):
        if variable.file is not None and variable.file in loaded.sources.found_here:
            yield variable.name, variable.file


def _addresses(loaded: LoadedSettings, tables: Iterable[_Keys], provider: str = "") -> Iterator[tuple[str, Path]]:
    for at, table, keys in tables:
        for key in keys:
            value = getattr(table, key)
            if _is_address(key, value, provider) and not _said_elsewhere(loaded.sources, (*at, key), value):
                named = _named(loaded.sources, at, table, key)
                yield from ((".".join((*at, key)), file) for file in _set_by(loaded, (*at, key), named))


def _said_elsewhere(sources: Sources, path: KeyPath, value: object) -> bool:
    """Whether a settings file that was not found here says the same."""
    said = _at(sources.table, path) if sources.file not in sources.found_here else None
    return said is not None and str(said).rstrip("/") == str(value).rstrip("/")


def _set_by(loaded: LoadedSettings, path: KeyPath, named: Sequence[Variable]) -> Iterator[Path]:
    """The files found here that set ``path``; none if the command line does, which wins over every file."""
    if _at(loaded.overrides, path) is None:
        yield from (file for file in _files_of(loaded.sources, path, named) if file in loaded.sources.found_here)


def _tables(loaded: LoadedSettings, catalog: Catalog, name: str, kind: str) -> Iterator[_Keys]:
    """The tables that concern a provider."""
    yield ("providers", name), loaded.provider(name, catalog.rotations), _OF_PROVIDER
    yield ("upstream",), loaded.settings.upstream, _OF_ALL
    owners = {
        catalog.owners.get(("proxy_providers", name)),
        catalog.owners.get(("proxy_credential_refreshers", kind)),
    }
    yield from _plugin_tables(loaded, (plugin for plugin in catalog.plugins if plugin.name in owners))


def _plugin_tables(loaded: LoadedSettings, plugins: Iterable[Plugin]) -> Iterator[_Keys]:
    for plugin in plugins:
        if plugin.state == "active" and plugin.info is not None and plugin.info.settings is not None:
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


def _places(loaded: LoadedSettings, catalog: Catalog, name: str, kind: str) -> Iterator[Variable]:
    """The variables that name a proxy, if they are used, and those that name the servers of a login."""
    variables = loaded.sources.variables
    own, all_ = loaded.provider(name, catalog.rotations).proxy, loaded.settings.upstream.proxy
    used = own or all_
    if used is not None and used.get_secret_value() == "environment":
        yield from (variables[name] for name in _PROXIES if name in variables)
    refresher = catalog.refreshers.get(kind)
    if refresher is not None and refresher.environment is not None:
        prefix = f"{refresher.environment}_"
        yield from (v for name, v in variables.items() if name.startswith(prefix) and name.endswith(_PLACES))


# --- Access ------------------------------------------------------------------------------


def _opened_here(loaded: LoadedSettings, catalog: Catalog) -> Iterator[tuple[str, Path]]:
    for path, opens in _OPENING.items():
        if opens(loaded.settings):
            yield from ((".".join(path), file) for file in _set_by(loaded, path, _named_below(loaded.sources, path)))
    # A collector's address, for example. What belongs to a provider is checked with the provider's own keys.
    owners = {plugin for (hook, _), plugin in catalog.owners.items() if hook in _OF_KEYS}
    yield from _addresses(loaded, _plugin_tables(loaded, (p for p in catalog.plugins if p.name not in owners)))


def _is_local(url: SecretStr | None) -> bool:
    return url is None or url.get_secret_value().partition(":")[0] in ("sqlite", "memory")


def _entries(loaded: LoadedSettings, catalog: Catalog, table: str) -> list[KeyPath]:
    entries: Any = getattr(loaded.settings, table)
    names = {*dict(entries), *(plugin.name for plugin in catalog.plugins if table == "plugins")}
    return [(table, name) for name in sorted(names)]


def _named_below(sources: Sources, path: KeyPath) -> list[Variable]:
    """The variables under names of their own that set ``path`` or something below it."""
    by_words = {str(variable): variable for variable in sources.variables.values()}
    origins = (origin for at, origin in sources.named.origins.items() if at[: len(path)] == path)
    return [by_words[origin] for origin in origins if origin in by_words]


# --- Keys and logins ---------------------------------------------------------------------


def _reasons(sources: Sources, catalog: Catalog, stored: Stored, adding: str | None) -> Iterator[tuple[str, str]]:
    """The providers that send something from elsewhere, and what in words."""
    if adding is not None:
        yield adding, f"a new key or login of {adding} belongs elsewhere"
    for name in catalog.providers:
        why = _from_elsewhere(sources, name, stored.get(name, ())) if name != adding else None
        if why is not None:
            yield name, why


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
        return _at(loads(text), path) is not None
    return False


def _at(table: Any, path: KeyPath) -> Any:
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table
