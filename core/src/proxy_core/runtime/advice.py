"""Startup warnings: what an operator should know; none of them stops the proxy."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence

from proxy_core.credentials.environment import variable_problems
from proxy_core.models.routing import Router
from proxy_core.network.routing import unused_proxies
from proxy_core.plugins.faults import NAMES_ONLY
from proxy_core.plugins.loader import unknown_names
from proxy_core.plugins.owners import Taken, missing_guards, new_owners, taken, whose
from proxy_core.plugins.plugin import Plugin
from proxy_core.plugins.registry import Catalog
from proxy_core.records.redact import MIN_LENGTH
from proxy_core.runtime.destinations import points_here
from proxy_core.settings.base import environment_name
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.tables import table_at
from proxy_core.settings.variables import CLIENT_KEY

#: For an installation without any provider.
_MOST_VENDORS = "proxy-plugin-openai-compat"
_NO_PROVIDER = re.compile(r"models\.\S+: no provider ")
#: Shorter secrets are not looked for in responses (``pipeline/secret_filter.py``).
MIN_KEY = 16


def log_warnings(log: logging.Logger, warnings: Sequence[str], catalog: Catalog) -> None:
    """A plugin that is not used is an error, with the traceback if there is one; the other lines are warnings."""
    skipped = {_unused(plugin): plugin.error for plugin in catalog.plugins if plugin.state == "skipped"}
    for line in warnings:
        level = logging.ERROR if line in skipped else logging.WARNING
        log.log(level, "%s", line, exc_info=skipped.get(line), extra=NAMES_ONLY if line in skipped else None)


def _unused(plugin: Plugin) -> str:
    return f"plugin {plugin.name} is not used: {plugin.reason}"


def startup_warnings(loaded: LoadedSettings, catalog: Catalog, router: Router) -> list[str]:
    """The warnings, one line each."""
    lines = [_unused(plugin) for plugin in catalog.plugins if plugin.state == "skipped"]
    lines += [f"plugin {p.name}: {p.reason}" for p in catalog.plugins if p.state == "active" and p.reason]
    lines += missing_guards(catalog.plugins, loaded)
    lines += new_owners(catalog.plugins, loaded)
    try:
        loaded.vault_dir.exists()
    except OSError as error:
        why = f"the data folder {loaded.data_dir} cannot be entered ({error.strerror})"
        lines.append(f"{why}: keys and logins that are stored there are not used; set PROXY_DATA_DIR")
    lines += [f"plugins.{key}: no plugin named {n!r} is installed" for key, n in unknown_names(loaded, catalog.plugins)]
    lines += router.warnings
    away = taken(catalog.plugins, loaded)
    lines += _unserved(loaded, catalog, away)
    lines += loaded.sources.notes()
    lines += loaded.without_effect(catalog.rotations)
    lines += _replaced(loaded)
    lines += [f"{name} sets nothing: no such setting" for name in loaded.sources.stray()]
    lines += _pointing_here(loaded, catalog)
    lines += [
        f"{name} is set, but not used: [upstream] proxy = 'environment' would use it, 'direct' ends this warning"
        for name in unused_proxies(loaded, catalog.providers)
    ]
    lines += _unused_keys(loaded, catalog, away)
    lines += [_end(catalog, name) for name in catalog.providers if router.ended(name)]
    lines += router.next_in_lists()
    return [*lines, *_problems_of_logins(loaded, catalog), *short_keys(loaded, catalog)]


def to_mend(loaded: LoadedSettings, catalog: Catalog, warnings: Sequence[str]) -> list[str]:
    """Those of the warnings that are mistakes, which no one can want."""
    away = taken(catalog.plugins, loaded)
    mistakes = [*_unserved(loaded, catalog, away), *_pointing_here(loaded, catalog), *short_keys(loaded, catalog)]
    mistakes += [_end(catalog, name) for name in loaded.provider_names if name in catalog.providers]
    return [line for line in warnings if line in mistakes or _NO_PROVIDER.match(line)]


def _end(catalog: Catalog, name: str) -> str:
    lifecycle = catalog.providers[name].lifecycle
    return f"provider {name} {lifecycle.end_in_words()}, so nothing is routed to it: {lifecycle.note}"


def _unserved(loaded: LoadedSettings, catalog: Catalog, away: Taken) -> Iterator[str]:
    for name in loaded.provider_names:
        if name not in catalog.providers:
            yield f"no active plugin provides {name!r}" + (f": {whose(name, away)}" if name in away else "")


def _replaced(loaded: LoadedSettings) -> Iterator[str]:
    """Keys of the settings file in whose place a variable has another."""
    file, table, variables = loaded.sources.file, loaded.sources.table, loaded.sources.variables
    for name in loaded.provider_names:
        keys, there = loaded.sources.key_variables(name), table_at(table, "providers", name).get("api_keys")
        above = table_at(loaded.above, "providers", name)
        if keys and there and "api_keys" not in above and there != [variable.value for variable in keys]:
            yield f"providers.{name}.api_keys of {file} is not used: {keys[0]} replaces it"
    key, there = variables.get(CLIENT_KEY), table_at(table, "clients", "default").get("key")
    if key is not None and there not in (None, key.value) and "key" not in table_at(loaded.above, "clients", "default"):
        yield f"clients.default.key of {file} is not used: {key} replaces it"


def _pointing_here(loaded: LoadedSettings, catalog: Catalog) -> Iterator[str]:
    for provider in catalog.providers.values():
        place = points_here(provider, loaded.settings.server)
        if place is not None:
            yield f"provider {provider.name}: {place} is this proxy's own address; set its base_url, or server.port"


def _unused_keys(loaded: LoadedSettings, catalog: Catalog, away: Taken) -> Iterator[str]:
    why = {environment_name(name): f"pip install {package}" for name, package in catalog.packages.items()}
    why |= {environment_name(name): whose(name, away) for name in away}
    unknown = "there is no provider of that name"
    if not any(plugin.name == "openai_compat" for plugin in catalog.plugins):
        unknown = f"no installed plugin has a provider of that name; for most vendors, pip install {_MOST_VENDORS}"
    for name in loaded.sources.key_variables_of_others(list(catalog.providers)):
        yield f"{name} is not used: {why.get(name.rpartition('_API_KEY')[0], unknown)}"


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
