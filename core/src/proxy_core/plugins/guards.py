"""What a start insists on: plugins that settings require, and every installed guard of the traffic."""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy_core.errors import PluginError
from proxy_core.plugins.owners import GUARDS, seen
from proxy_core.plugins.plugin import Plugin
from proxy_core.plugins.sources import source
from proxy_core.settings.loading import LoadedSettings

#: A misspelled hook that makes a guard is one, too.
_MAKES_GUARDS = re.compile(r"proxy_(sanitizer|redactor)|\b(Sanitizer|Redactor)\(")


def check_guards(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> None:
    """Raises ``PluginError`` for a guard that cannot work, because traffic would pass unguarded."""
    for plugin in plugins:
        missing = plugin.state == "skipped" and plugin.name not in loaded.settings.plugins.optional
        if missing and _is_guard(plugin, loaded):
            or_else = "list it in [plugins] optional to start without it, or in [plugins] disabled"
            problem = f"{plugin.reason}; traffic would pass without its sanitizers or redactors"
            raise PluginError(plugin.name, f"{problem}: fix it, {or_else}") from plugin.error


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
