"""Tools for plugin authors and for a first look: a demo provider, and benchmarks against a bare relay.

Installing the plugin changes nothing by itself: the demo is off until ``serve --demo`` or a setting turns it
on, and only the ``bench`` command imports the benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import Check, PluginContext, PluginInfo, Provider, SettingsError, hookimpl
from proxy_plugin_devkit.settings import DevkitSettings

if TYPE_CHECKING:
    import click

#: ``providers`` is empty, so the name ``demo`` stays free: it is taken only while the demo is on.
PLUGIN = PluginInfo(name="devkit", api=1, settings=DevkitSettings)
_DEMO = "demo"


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    if not ctx.settings(DevkitSettings).demo:
        return []
    if _DEMO in ctx.provider_names():
        # A command-line flag must not make a toy answer the requests meant for a real provider.
        raise SettingsError([f"providers.{_DEMO} is already configured; rename that provider or turn off the demo"])
    from proxy_plugin_devkit.demo import demo_provider

    return [demo_provider(_DEMO)]


@hookimpl
def proxy_checks(ctx: PluginContext) -> Iterable[Check]:
    problem = "every client can use the demo models: remove demo from [plugins.devkit]"
    on = ctx.settings(DevkitSettings).demo
    return [Check(name="demo", run=lambda: problem if on else None)]


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_devkit import dev
    from proxy_plugin_devkit.bench import command as bench
    from proxy_plugin_devkit.new.command import group as plugin
    from proxy_plugin_devkit.testing import capture, replay
    from proxy_plugin_devkit.testing.faults import command as faults

    return [bench.command, capture.command, dev.command, faults.command, plugin, replay.command]
