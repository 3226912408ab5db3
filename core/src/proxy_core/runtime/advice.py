"""Startup warnings: what an operator should know; none of them stops the proxy."""

from __future__ import annotations

from collections.abc import Iterator

from proxy_core.credentials.environment import variable_problems
from proxy_core.models.routing import Router
from proxy_core.network.routing import unused_proxies
from proxy_core.plugins.loader import unknown_names
from proxy_core.plugins.registry import Catalog
from proxy_core.records.redact import MIN_LENGTH
from proxy_core.runtime.destinations import points_here
from proxy_core.settings.loading import LoadedSettings

#: Shorter secrets are not looked for in responses (``pipeline/secret_filter.py``).
MIN_KEY = 16


def startup_warnings(loaded: LoadedSettings, catalog: Catalog, router: Router) -> list[str]:
    """The warnings, one line each."""
    lines = [f"plugin {p.name} is not used: {p.reason}" for p in catalog.plugins if p.state == "skipped"]
    lines += [f"plugin {p.name}: {p.reason}" for p in catalog.plugins if p.state == "active" and p.reason]
    try:
        loaded.vault_dir.exists()
    except OSError as error:
        why = f"the data folder {loaded.data_dir} cannot be entered ({error.strerror})"
        lines.append(f"{why}: keys and logins that are stored there are not used; set PROXY_DATA_DIR")
    lines += [f"plugins.{key}: no plugin named {n!r} is installed" for key, n in unknown_names(loaded, catalog.plugins)]
    lines += router.warnings
    lines += [f"no active plugin provides {n!r}" for n in loaded.provider_names if n not in catalog.providers]
    lines += loaded.without_effect(catalog.rotations)
    lines += [f"{name} sets nothing: no such setting" for name in loaded.sources.stray()]
    lines += [
        f"provider {provider.name}: {place} is this proxy's own address; set its base_url, or server.port"
        for provider in catalog.providers.values()
        if (place := points_here(provider, loaded.settings.server)) is not None
    ]
    lines += [
        f"{name} is set, but not used: [upstream] proxy = 'environment' would use it, 'direct' ends this warning"
        for name in unused_proxies(loaded, catalog.providers)
    ]
    lines += [
        f"{name} is not used: there is no provider of that name"
        for name in loaded.sources.key_variables_of_others(list(catalog.providers))
    ]
    lines += [
        f"provider {name} has ended{f' on {p.lifecycle.until}' if p.lifecycle.until else ''}: {p.lifecycle.note}"
        for name, p in catalog.providers.items()
        if p.lifecycle.status == "ended"
    ]
    return [*lines, *_problems_of_logins(loaded, catalog), *short_keys(loaded, catalog)]


def _problems_of_logins(loaded: LoadedSettings, catalog: Catalog) -> Iterator[str]:
    """What is wrong with logins in variables."""
    variables = {name: variable.value for name, variable in loaded.sources.variables.items()}
    for refresher in catalog.refreshers.values():
        if refresher.environment is not None:
            yield from variable_problems(refresher.environment, variables, refresher.details)


def short_keys(loaded: LoadedSettings, catalog: Catalog) -> list[str]:
    """Keys that can be guessed, and that logs and responses may contain as ordinary words."""
    keys = {f"clients.{name}.key": client.key for name, client in loaded.settings.clients.items()}
    for name in catalog.providers:
        for number, entry in enumerate(loaded.provider(name, catalog.rotations).api_keys):
            keys[f"providers.{name}.api_keys[{number}]"] = entry.key
    return [
        f"{place} has fewer than {MIN_KEY} characters: it can be guessed, and is not removed from responses"
        + (" nor from the log" if len(key.get_secret_value()) < MIN_LENGTH else "")
        for place, key in keys.items()
        if len(key.get_secret_value()) < MIN_KEY
    ]
