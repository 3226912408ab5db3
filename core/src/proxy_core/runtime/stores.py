"""Opens the state store that settings name."""

from __future__ import annotations

from proxy_core.errors import SettingsError
from proxy_core.interfaces import StateBackend, StateStore
from proxy_core.plugins.loader import load_plugins
from proxy_core.plugins.registry import Catalog, build_catalog
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.settings.loading import LoadedSettings


def state_store(catalog: Catalog, loaded: LoadedSettings) -> tuple[StateStore, str]:
    """The store and its URL. Raises ``SettingsError``."""
    configured = loaded.settings.state.url
    url = configured.get_secret_value() if configured else f"sqlite:///{loaded.data_dir.absolute() / 'state.db'}"
    scheme = url.partition(":")[0]
    if scheme not in catalog.state_stores:
        known = ", ".join(sorted(catalog.state_stores))
        raise SettingsError([f"state.url: there is no store for {scheme!r}; known are {known}"])
    return catalog.state_stores[scheme], url


async def open_store(loaded: LoadedSettings) -> StateBackend:
    """The state of this installation, without a proxy. Raises ``SettingsError`` and whatever the store raises."""
    plugins = load_plugins(loaded, built_in=[BuiltIn(loaded)], only=("proxy_state_stores",))
    store, url = state_store(build_catalog(plugins), loaded)
    return await store.open(url)
