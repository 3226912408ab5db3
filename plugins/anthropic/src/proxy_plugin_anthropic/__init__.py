"""Anthropic's Messages API for proxy-core: for clients of every model, and as an upstream with API keys."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import Dialect, PluginContext, PluginInfo, hookimpl
from proxy_plugin_anthropic.dialect import DIALECT

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="anthropic", api=1)


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    return [DIALECT]
