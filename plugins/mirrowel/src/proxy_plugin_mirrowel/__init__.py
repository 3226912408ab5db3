"""For users of Mirrowel's LLM-API-Key-Proxy: its environment variables, quota statistics, and its folder.

Settings are read before plugins are asked, so the variables come through an entry point of their own, ``names.SOURCE``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import Operation, PluginContext, PluginInfo, Sanitizer, hookimpl
from proxy_plugin_mirrowel import model_info_stats, quota_stats
from proxy_plugin_mirrowel.temperature import MirrowelSettings, temperature_zero

if TYPE_CHECKING:
    import click

PLUGIN = PluginInfo(name="mirrowel", api=1, settings=MirrowelSettings)


@hookimpl
def proxy_operations(ctx: PluginContext) -> Iterable[Operation]:
    return [*quota_stats.OPERATIONS, model_info_stats.OPERATION]


@hookimpl
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    action = ctx.settings(MirrowelSettings).temperature_zero
    return [] if action == "keep" else [temperature_zero(action)]


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_mirrowel.importing.command import group

    return [group]
