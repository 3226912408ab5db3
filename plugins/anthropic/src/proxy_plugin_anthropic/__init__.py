"""Anthropic's Messages API for proxy-core: for clients of every model, and as an upstream with API keys."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from proxy_core import Dialect, PluginContext, PluginInfo, Provider, hookimpl
from proxy_plugin_anthropic.dialect import DIALECT
from proxy_plugin_anthropic.dialect.decode import decode_strictly
from proxy_plugin_anthropic.provider import NAME, MessagesApi
from proxy_plugin_anthropic.settings import AnthropicSettings

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="anthropic", api=1, settings=AnthropicSettings, providers=(NAME,))


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    refuses = ctx.settings(AnthropicSettings).hosted_tools == "refuse"
    return [replace(DIALECT, decode=decode_strictly) if refuses else DIALECT]


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    """Anthropic itself, and the servers whose ``preset`` says that they speak its format."""
    others = [name for name in ctx.provider_names() if name != NAME and ctx.provider(name).preset == NAME]
    settings = ctx.settings(AnthropicSettings)
    return [MessagesApi(name, ctx.provider(name), settings).provider() for name in (NAME, *others)]
