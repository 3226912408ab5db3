"""What litellm does best: providers that have no plugin of their own, token counters, prices and capabilities.

litellm itself is imported when it is first needed, in its own thread; see :mod:`proxy_plugin_litellm.library`.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import ModelCatalog, PluginContext, PluginInfo, Provider, TokenCounter, hookimpl
from proxy_plugin_litellm.counting import counter
from proxy_plugin_litellm.names import KEY_ONLY, OWN_PLUGINS
from proxy_plugin_litellm.newer_tables import NewerTables
from proxy_plugin_litellm.settings import LitellmSettings
from proxy_plugin_litellm.table import load_table

PLUGIN = PluginInfo(name="litellm", api=1, settings=LitellmSettings, presets=KEY_ONLY)


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    configured, keyed = ctx.settings(LitellmSettings).providers, _keyed(ctx)
    if not configured and not keyed:
        return []
    from proxy_plugin_litellm.provider import build_keyed, build_provider  # not needed if only the counter is used

    return [*(build_provider(name, settings) for name, settings in configured.items()), *map(build_keyed, keyed)]


def _keyed(ctx: PluginContext) -> list[str]:
    """The providers for which there is a key, and which no other plugin serves: neither their own, nor, at another
    address, the one for OpenAI's format."""
    stored = ctx.stored_providers()
    return [
        name
        for name in (*KEY_ONLY, *OWN_PLUGINS)
        if name not in ctx.reserved_providers
        for settings in [ctx.provider(name)]
        if (settings.api_keys or name in stored) and not settings.base_url and not settings.preset
    ]


@hookimpl
def proxy_token_counters(ctx: PluginContext) -> Iterable[TokenCounter]:
    return [counter()]


@hookimpl
def proxy_model_catalogs(ctx: PluginContext) -> Iterable[ModelCatalog]:
    settings = ctx.settings(LitellmSettings)
    if settings.table_url is None:
        return [ModelCatalog(name="litellm", load=load_table)]
    tables = NewerTables(ctx.data_dir / "table.json", str(settings.table_url), settings.table_every_s)
    return [ModelCatalog(name="litellm", load=tables.load, newer=tables.fetched)]
