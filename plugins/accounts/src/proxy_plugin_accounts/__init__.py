"""The commands about accounts: ``proxy-core login`` and ``proxy-core credentials``.

It serves nothing and has no settings; a proxy that runs does not import its commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

PLUGIN = PluginInfo(name="accounts", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_accounts import credentials, login

    return [login.command, credentials.command]
