"""Commands for the operator: what is wrong with an installation, what a running proxy decides, what was used.

It serves nothing and has no settings; a proxy that runs does not import its commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

PLUGIN = PluginInfo(name="doctor", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_doctor import config, cooldown, doctor, explain, models, plugins, reload, usage, why

    modules = (config, cooldown, doctor, explain, models, plugins, reload, usage, why)
    return [module.command for module in modules]
