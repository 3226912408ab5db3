"""What litellm does best: providers that have no plugin of their own, token counters, prices and capabilities.

litellm itself is imported when it is first needed, in its own thread; see :mod:`proxy_plugin_litellm.library`.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import ModelCatalog, PluginContext, PluginInfo, Provider, TokenCounter, hookimpl
from proxy_plugin_litellm.counting import counter
from proxy_plugin_litellm.newer_tables import NewerTables
from proxy_plugin_litellm.settings import LitellmSettings
from proxy_plugin_litellm.table import load_table

PLUGIN = PluginInfo(name="litellm", api=1, settings=LitellmSettings)


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    configured = ctx.settings(LitellmSettings).providers
    if not configured:
        return []
    from proxy_plugin_litellm.provider import build_provider  # not needed if only the counter is used

    return [build_provider(name, settings) for name, settings in configured.items()]


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
