"""``proxy-core setup``: the configuration of coding agents and other clients for your proxy.

It serves nothing and has no settings; a proxy that runs does not import its commands. Other plugins' commands
may end with the configuration of a client: :func:`recipe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

    from proxy_core.cli.api import LoadedSettings

__all__ = ["PLUGIN", "client_names", "proxy_cli_commands", "recipe"]

PLUGIN = PluginInfo(name="clients", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_clients import client_key, setup

    return [client_key.command, setup.command]


def client_names() -> Sequence[str]:
    """The clients that ``proxy-core setup`` knows."""
    from proxy_plugin_clients.setup import PROGRAMS

    return list(PROGRAMS)


def recipe(loaded: LoadedSettings, client: str, models: Sequence[str] = ()) -> str:
    """What ``proxy-core setup`` shows for one of these. Raises ``ClickException``."""
    from proxy_plugin_clients import setup

    return setup.recipe(loaded, setup.PROGRAMS[client], models)
