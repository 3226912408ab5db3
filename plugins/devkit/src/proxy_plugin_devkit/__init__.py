"""What plugin authors and the curious run: a demo provider, and benchmarks against a bare relay.

Installed, it changes nothing: the demo is off until ``serve --demo`` or a setting asks for it, and the
benchmarks are imported by their command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import Check, PluginContext, PluginInfo, Provider, SettingsError, hookimpl
from proxy_plugin_devkit.settings import DevkitSettings

if TYPE_CHECKING:
    import click

#: No name is reserved: only who asks for the demo gives up a provider of this name.
PLUGIN = PluginInfo(name="devkit", api=1, settings=DevkitSettings)
_DEMO = "demo"


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    if not ctx.settings(DevkitSettings).demo:
        return []
    if _DEMO in ctx.provider_names():
        # Its requests must not be answered by a toy because someone passed a flag.
        raise SettingsError([f"providers.{_DEMO} is a provider of yours; rename it, or do without the demo"])
    from proxy_plugin_devkit.demo import demo_provider

    return [demo_provider(_DEMO)]


@hookimpl
def proxy_checks(ctx: PluginContext) -> Iterable[Check]:
    problem = "the demo models are served to every client: take demo out of [plugins.devkit]"
    on = ctx.settings(DevkitSettings).demo
    return [Check(name="demo", run=lambda: problem if on else None)]


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_devkit.bench.command import command

    return [command]
