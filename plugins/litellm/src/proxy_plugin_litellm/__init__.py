"""What litellm does best: providers that have no plugin of their own, token counters, prices and capabilities.

litellm itself is imported when it is first needed, in its own thread; see :mod:`proxy_plugin_litellm.library`.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import CatalogSource, ModelCatalog, PluginContext, PluginInfo, Provider, TokenCounter, hookimpl
from proxy_plugin_litellm.counting import counter
from proxy_plugin_litellm.settings import LitellmSettings
from proxy_plugin_litellm.table import load_table, parse_table

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
    settings, source = ctx.settings(LitellmSettings), None
    if settings.table_url is not None:
        source = CatalogSource(url=str(settings.table_url), every_s=settings.table_every_s, parse=parse_table)
    return [ModelCatalog(name="litellm", load=load_table, source=source)]
