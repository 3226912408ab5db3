"""What the plugins of a server provide, and what it insists on."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_core.plugins.guards import check_guards, check_required
from proxy_core.plugins.loader import HOOKS, load_plugins
from proxy_core.plugins.plugin import Module, Plugin
from proxy_core.plugins.registry import Catalog, settled
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.settings.loading import LoadedSettings

#: Commands belong to the command line; a server does not load them.
_SERVER_HOOKS = tuple(hook for hook in HOOKS if hook != "proxy_cli_commands")


def load_catalog(loaded: LoadedSettings, modules: Sequence[Module] = ()) -> Catalog:
    """What plugins provide. ``modules`` are plugins that are not installed, as in tests. Raises ``SetupError``."""
    plugins = load_plugins(loaded, built_in=[BuiltIn(loaded), *modules], only=_SERVER_HOOKS)
    check_guards(loaded, plugins)
    return checked(loaded, plugins)


def checked(loaded: LoadedSettings, plugins: Sequence[Plugin]) -> Catalog:
    """The catalog of the plugins that can be used together. Raises ``SetupError`` if one that must not is missing."""
    catalog = settled(plugins, loaded)
    check_guards(loaded, catalog.plugins)
    check_required(loaded, catalog.plugins)
    return catalog
