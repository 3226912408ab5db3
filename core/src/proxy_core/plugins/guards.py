"""What a start insists on: plugins that settings require, and every installed guard of the traffic."""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy_core.errors import PluginError, SettingsError
from proxy_core.plugins.loader import load_plugins
from proxy_core.plugins.owners import GUARDS, seen
from proxy_core.plugins.plugin import Plugin
from proxy_core.plugins.sources import source
from proxy_core.settings.loading import LoadedSettings

#: A misspelled hook that makes a guard is one, too.
_MAKES_GUARDS = re.compile(r"proxy_(sanitizer|redactor)|\b(Sanitizer|Redactor)\(")


def check_guards(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    """Raises ``PluginError`` for a guard that cannot work, because traffic would pass unguarded.

    If settings of providers are wrong, which may be why, ``SettingsError`` with all of them and with further guards.
    """
    optional = loaded.settings.plugins.optional
    missing = [p for p in plugins if p.state == "skipped" and p.name not in optional and _is_guard(p, loaded)]
    if not missing:
        return
    wrong = loaded.problems(_providers(loaded, plugins))
    errors = [(_unguarded(p), p.error) for p in missing if not any(line in p.reason for line in wrong)]
    if wrong or len(errors) > 1:
        raise SettingsError([*wrong, *(str(error) for error, _ in errors)])
    raise errors[0][0] from errors[0][1]


def provider_problems(loaded: LoadedSettings) -> list[str]:
    """What is wrong with the settings of providers, also of those that only installed plugins know; no hook is called.

    Raises ``SetupError``.
    """
    return loaded.problems(_providers(loaded, load_plugins(loaded, only=())))


def _unguarded(plugin: Plugin) -> PluginError:
    or_else = "list it in [plugins] optional to start without it, or in [plugins] disabled"
    problem = f"{plugin.reason}; traffic would pass without its sanitizers or redactors"
    return PluginError(plugin.name, f"{problem}: fix it, {or_else}")


def _providers(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> list[str]:
    """Those that settings name, and those of plugins that have a variable with a key."""
    infos = [plugin.info for plugin in plugins if plugin.info is not None and plugin.state != "disabled"]
    theirs = {name for info in infos for name in (*info.providers, *info.presets)}
    return list(dict.fromkeys([*loaded.provider_names, *sorted(n for n in theirs if loaded.sources.key_variables(n))]))


def _is_guard(plugin: Plugin, loaded: LoadedSettings) -> bool:
    if plugin.name in seen(loaded.data_dir).guards:
        return True
    if plugin.hooks:
        return not GUARDS.isdisjoint(plugin.hooks)
    text = source(plugin.module)
    return loaded.sets_up(plugin.name) if text is None else _MAKES_GUARDS.search(text) is not None


def check_required(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    """Raises ``PluginError`` if a plugin that settings require is not active."""
    by_name = {plugin.name: plugin for plugin in plugins}
    for name in loaded.settings.plugins.required:
        plugin = by_name.get(name)
        if plugin is None:
            raise PluginError(name, "required by [plugins] required, but not installed")
        if plugin.state != "active":
            raise PluginError(name, f"required by [plugins] required, but {plugin.state}: {plugin.reason}")
