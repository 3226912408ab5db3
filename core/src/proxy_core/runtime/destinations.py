"""Where each provider's keys are sent, and a check that no file lying in the working directory decides about it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy_core.errors import SettingsError
from proxy_core.interfaces import Credential, Provider, ProviderCall
from proxy_core.plugins.registry import Catalog
from proxy_core.runtime.pools import Stored
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import DELIMITER, PREFIX, LoadedSettings, Sources
from proxy_core.settings.schema import ServerSettings
from proxy_core.settings.sources import Variable
from proxy_core.settings.validation_errors import KeyPath

#: Settings of a provider that decide about where its requests go.
_DECIDING = ("base_url", "proxy", "unix_socket", "ca_file")


def address(provider: Provider, credential: Credential | None = None) -> str | None:
    """The upstream's URL, taken from a request that is built but not sent; building it is pure."""
    blank = Credential(id="none", provider=provider.name, kind="none", secret=SecretStr("none"), label="none")
    with suppress(Exception):  # a plugin may need a real credential to know its address
        if provider.list_models is not None:
            return provider.list_models.request(credential or blank).url.partition("?")[0]
        dialect = provider.dialects[0] if provider.dialects else None
        call = ProviderCall(dialect=dialect, body={"model": "x", "messages": []})
        return provider.encode(call, credential or blank).url.partition("?")[0]
    return None


def server(provider: Provider, credential: Credential | None = None) -> str | None:
    """Scheme, host and port of the upstream."""
    parts = urlsplit(address(provider, credential) or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else None


def points_here(provider: Provider, own: ServerSettings) -> str | None:
    """The provider's address if it is the one that this proxy listens on, so that its requests would come back."""
    place = server(provider)
    if place is None:
        return None
    parts = urlsplit(place)
    host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
    everywhere = own.host in ("0.0.0.0", "::")  # noqa: S104  # compared, not listened on
    local = {own.host, "localhost", "0.0.0.0", "::", *([socket.gethostname()] if everywhere else ())}  # noqa: S104
    return place if port == own.port and (host in local or _is_loopback(host)) else None


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.endswith(".localhost")


def check_destinations(loaded: LoadedSettings, catalog: Catalog, stored: Stored) -> None:
    """Raises ``SettingsError`` if a file that was merely found in the working directory sets the address for a key
    from elsewhere: starting the proxy in a downloaded folder must not send keys to whoever wrote its files."""
    problems = []
    for name in catalog.providers:
        for path in (*(("providers", name, key) for key in _DECIDING), ("upstream", "ca_file")):
            short = f"{environment_name(name)}_API_BASE" if path[-1] == "base_url" else ""
            file = _found_here(loaded.sources, path, short)
            if file is not None and (place := _key_from_elsewhere(loaded.sources, name, bool(stored.get(name)))):
                problems.append(_words(".".join(path), file, f"the key of {name} is from {place}"))
    problems += _plugins(loaded.sources, catalog, stored)
    if problems:
        raise SettingsError(problems)


def files(sources: Sources) -> list[Path]:
    """The settings files that were read."""
    dotenvs = {variable.file for variable in sources.variables.values() if variable.file is not None}
    return [*([sources.file] if sources.file else []), *sorted(dotenvs)]


def _found_here(sources: Sources, path: KeyPath, variable: str) -> Path | None:
    named = [sources.variables[variable]] if variable in sources.variables else []
    return next((file for file in _files_of(sources, path, named) if file in sources.found_here), None)


def _key_from_elsewhere(sources: Sources, provider: str, has_logins: bool) -> str | None:
    for file in _files_of(sources, ("providers", provider, "api_keys"), sources.key_variables(provider)):
        if file not in sources.found_here:
            return str(file) if file is not None else "the environment"
    return "a stored login" if has_logins else None


def _files_of(sources: Sources, path: KeyPath, named: Sequence[Variable]) -> list[Path | None]:
    """The files that set ``path``; ``None`` is the environment. ``named``: its variables of another spelling."""
    nested = next((v for n in range(len(path), 0, -1) if (v := sources.nested(path[:n])) is not None), None)
    if nested is not None or named:
        return [variable.file for variable in ([nested] if nested is not None else named)]
    table: Any = sources.table
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    return [] if table is None else [sources.file]


def _plugins(sources: Sources, catalog: Catalog, stored: Stored) -> Iterator[str]:
    """The addresses of a plugin's own settings, to which it sends its logins."""
    for name, variable in sources.variables.items():
        plugin = name.removeprefix(f"{PREFIX}PLUGINS{DELIMITER}").partition(DELIMITER)[0].lower()
        if variable.file in sources.found_here and plugin != name.lower() and "://" in variable.value:
            owned = [p for (hook, p), owner in catalog.owners.items() if (hook, owner) == ("proxy_providers", plugin)]
            if any(stored.get(provider) for provider in owned):
                yield _words(name, variable.file, "its logins are stored elsewhere")


def _words(setting: str, file: Path | None, problem: str) -> str:
    return (
        f"{setting}: {file} was only found in the working directory, and {problem}. Set both in one place, "
        "or name a settings file in that folder with --config"
    )
