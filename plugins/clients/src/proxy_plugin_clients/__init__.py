"""``proxy-core setup``: the configuration of coding agents and other clients for your proxy.

It serves nothing and has no settings; a proxy that runs does not import its commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

__all__ = ["PLUGIN", "proxy_cli_commands"]

PLUGIN = PluginInfo(name="clients", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_clients import client_key, setup

    return [client_key.command, setup.command]
