"""The size and cost of a request, without making it: two paths for clients, and an estimate of tokens for any model."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import Operation, PluginContext, PluginInfo, TokenCounter, hookimpl
from proxy_plugin_estimates.operations import OPERATIONS
from proxy_plugin_estimates.token_estimate import COUNTER

PLUGIN = PluginInfo(name="estimates", api=1)


@hookimpl
def proxy_operations(ctx: PluginContext) -> Iterable[Operation]:
    return OPERATIONS


@hookimpl
def proxy_token_counters(ctx: PluginContext) -> Iterable[TokenCounter]:
    return [COUNTER]
