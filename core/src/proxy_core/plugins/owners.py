"""Whose a provider's name is: also while its plugin cannot be used, no other plugin serves requests for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from proxy_core.files import private_folder, read_small, write_private
from proxy_core.jsons import loads
from proxy_core.plugins.plugin import Plugin
from proxy_core.settings.loading import LoadedSettings

#: In the data folder: the names of the last start, each with its plugin and that plugin's package.
_FILE = "provider-names.json"

#: A name, to the plugin that it belongs to and why that is not there.
Taken = Mapping[str, tuple[str, str]]


def taken(plugins: Sequence[Plugin], loaded: LoadedSettings) -> Taken:
    """The names of providers whose plugin is skipped, or no longer installed. Who disables a plugin gives them away."""
    table, by_name = loaded.settings.plugins, {plugin.name: plugin for plugin in plugins}
    found: dict[str, tuple[str, str]] = {}
    for name, (owner, package) in _remembered(loaded.data_dir).items():
        given_away = owner in table.disabled or (table.allowed is not None and owner not in table.allowed)
        if owner not in by_name and not given_away:
            found[name] = owner, f"it is no longer installed: pip install {package}"
        elif owner in by_name and by_name[owner].state == "skipped":
            found[name] = owner, by_name[owner].reason
    for plugin in plugins:
        if plugin.state == "skipped":
            own = plugin.info.providers if plugin.info is not None else ()
            found |= dict.fromkeys((plugin.name, *own), (plugin.name, plugin.reason))
    return found


def without_taken(plugins: Sequence[Plugin], loaded: LoadedSettings) -> list[Plugin]:
    """The plugins without the providers whose names belong to others."""
    names = taken(plugins, loaded)

    def checked(plugin: Plugin) -> Plugin:
        given = plugin.provided.get("proxy_providers", ())
        others = [n for p in given if (n := getattr(p, "name", "")) in names and names[n][0] != plugin.name]
        if not others:
            return plugin
        kept = [p for p in given if getattr(p, "name", "") not in others]
        left_out = [f"the provider {name} is left out: {whose(name, names)}" for name in others]
        reason = "; ".join([*filter(None, [plugin.reason]), *left_out])
        return replace(plugin, provided={**plugin.provided, "proxy_providers": kept}, reason=reason)

    return [checked(plugin) for plugin in plugins]


def whose(name: str, names: Taken) -> str:
    """Why requests for a reserved name are refused, and how another plugin can be given the name."""
    owner, why = names[name]
    return f'its name belongs to the plugin {owner} ({why}); [plugins] disabled = ["{owner}"] gives it away'


def remember(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    """Keep the names for the next start. Only those of installed plugins: others cannot be uninstalled."""
    before = _remembered(loaded.data_dir)
    kept = {name: owner for name, owner in before.items() if name in taken(plugins, loaded)}
    now = {
        provider.name: (plugin.name, plugin.distribution)
        for plugin in plugins
        if plugin.state == "active" and plugin.module
        for provider in plugin.provided.get("proxy_providers", ())
    }
    if {**kept, **now} != before:
        with suppress(OSError):  # where nothing can be written, nothing is remembered
            private_folder(loaded.data_dir)
            write_private(loaded.data_dir / _FILE, json.dumps({**kept, **now}, indent=1).encode())


def _remembered(folder: Path) -> dict[str, tuple[str, str]]:
    try:
        found = loads(read_small(folder / _FILE))
        return {str(name): (str(owner), str(package)) for name, (owner, package) in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
