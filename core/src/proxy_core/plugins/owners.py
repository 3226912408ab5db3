"""What is remembered of plugins that worked: whose a provider's name is, and which of them guarded the traffic.

While a plugin cannot be used, no other plugin serves requests for its names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import DecodeError, Struct, json
from msgspec.structs import replace

from proxy_core.files import private_folder, read_small, write_private
from proxy_core.plugins.plugin import Plugin
from proxy_core.plugins.sources import claimed_names, loose_file
from proxy_core.settings.loading import LoadedSettings

#: In the data folder.
_FILE = "plugins-seen.json"
_PROVIDERS = "proxy_providers"
#: The hooks of those without which traffic would pass unguarded.
GUARDS = frozenset({"proxy_sanitizers", "proxy_redactors"})

#: A name, to the plugin that it belongs to and why that is not there.
Taken = Mapping[str, tuple[str, str]]


class Seen(Struct, frozen=True):
    """Of the last start: the providers' names, each with its plugin and that plugin's package; guards and packages."""

    providers: Mapping[str, tuple[str, str]] = {}
    guards: Mapping[str, str] = {}


def taken(plugins: Sequence[Plugin], loaded: LoadedSettings) -> Taken:
    """The names of providers whose plugin is skipped, or no longer installed. Who disables a plugin gives them away.

    A plugin that never worked takes no name from one that has served it until now.
    """
    by_name = {plugin.name: plugin for plugin in plugins}
    found: dict[str, tuple[str, str]] = {}
    served = set()
    declared = {n for p in plugins if p.state == "active" and p.info is not None for n in p.info.providers}
    for name, (owner, package) in seen(loaded.data_dir).providers.items():
        if owner not in by_name and not _given_away(owner, loaded):
            found[name] = owner, f"it is no longer installed: {_back(package)}"
        elif owner in by_name and by_name[owner].state == "skipped":
            found[name] = owner, by_name[owner].reason
        elif owner in by_name and by_name[owner].state == "active":
            served.add(name)
    for plugin in plugins:
        if plugin.state == "skipped":
            own = plugin.info.providers if plugin.info is not None else claimed_names(plugin.module) - declared
            found |= dict.fromkeys({plugin.name, *own} - served, (plugin.name, plugin.reason))
    return found


def _back(package: str) -> str:
    return f"pip install {package}" if package else "put its file back"


def _package(plugin: Plugin) -> str:
    """Empty for one that is a loose file."""
    return "" if loose_file(plugin.module) else plugin.distribution


def _given_away(plugin: str, loaded: LoadedSettings) -> bool:
    table = loaded.settings.plugins
    return plugin in table.disabled or (table.allowed is not None and plugin not in table.allowed)


def new_owners(plugins: Sequence[Plugin], loaded: LoadedSettings) -> list[str]:
    """A line for each provider that comes from another plugin than at the last start."""
    before = seen(loaded.data_dir).providers
    now = {p.name: plugin.name for plugin in plugins if plugin.module for p in plugin.provided.get(_PROVIDERS, ())}
    return [
        f"the provider {name!r} is served by the plugin {plugin!r} now, no longer by {before[name][0]!r}"
        for name, plugin in now.items()
        if name in before and before[name][0] != plugin
    ]


def missing_guards(plugins: Sequence[Plugin], loaded: LoadedSettings) -> list[str]:
    """A line for each guard of the last start that is no longer installed."""
    names = {plugin.name for plugin in plugins}
    return [
        f"the plugin {name!r}, whose sanitizers or redactors traffic passed, is no longer installed:"
        f' {_back(package)}, or end this warning with [plugins] disabled = ["{name}"]'
        for name, package in seen(loaded.data_dir).guards.items()
        if name not in names and not _given_away(name, loaded)
    ]


def without_taken(plugins: Sequence[Plugin], loaded: LoadedSettings) -> list[Plugin]:
    """The plugins without the providers whose names belong to others."""
    names = taken(plugins, loaded)

    def checked(plugin: Plugin) -> Plugin:
        given = plugin.provided.get(_PROVIDERS, ())
        others = [n for p in given if (n := _name(p)) in names and names[n][0] != plugin.name]
        if not others:
            return plugin
        kept = [p for p in given if _name(p) not in others]
        left_out = [f"the provider {name} is left out: {whose(name, names)}" for name in others]
        reason = "; ".join([*filter(None, [plugin.reason]), *left_out])
        return replace(plugin, provided={**plugin.provided, _PROVIDERS: kept}, reason=reason)

    return [checked(plugin) for plugin in plugins]


def _name(provider: object) -> str:
    name = getattr(provider, "name", "")
    return name if isinstance(name, str) else ""


def whose(name: str, names: Taken) -> str:
    """Why requests for a reserved name are refused, and how another plugin can be given the name."""
    owner, why = names[name]
    return f'its name belongs to the plugin {owner} ({why}); [plugins] disabled = ["{owner}"] gives it away'


def remember(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    """Keep names and guards for the next start. Only those of installed plugins: others cannot be uninstalled."""
    before, names = seen(loaded.data_dir), taken(plugins, loaded)
    active = [plugin for plugin in plugins if plugin.state == "active" and plugin.module]
    kept = {name: owner for name, owner in before.providers.items() if name in names}
    now = {p.name: (plugin.name, _package(plugin)) for plugin in active for p in plugin.provided.get(_PROVIDERS, ())}
    works = {plugin.name for plugin in active}
    away = {n: package for n, package in before.guards.items() if n not in works and not _given_away(n, loaded)}
    guards = {plugin.name: _package(plugin) for plugin in active if not GUARDS.isdisjoint(plugin.hooks)}
    new = Seen({**kept, **now}, {**away, **guards})
    if new != before:
        with suppress(OSError):  # where nothing can be written, nothing is remembered
            private_folder(loaded.data_dir)
            write_private(loaded.data_dir / _FILE, json.encode(new))


def seen(folder: Path) -> Seen:
    try:
        return json.decode(read_small(folder / _FILE), type=Seen)
    except (OSError, DecodeError):
        return Seen()
