"""The commands about accounts: ``proxy-core init``, ``login``, ``credentials`` and ``providers``.

It serves nothing and has no settings; a proxy that runs does not import its commands. Other plugins' commands
find all credentials of an installation through :func:`open_accounts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

    from proxy_plugin_accounts.accounts import Account, Accounts, open_accounts

__all__ = ["PLUGIN", "Account", "Accounts", "open_accounts"]

PLUGIN = PluginInfo(name="accounts", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_accounts import credentials, init, login, providers

    return [login.command, credentials.command, init.command, providers.command]


def __getattr__(name: str) -> Any:
    """What others import is imported only then: it needs click and the core's command line."""
    if name not in ("Account", "Accounts", "open_accounts"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("proxy_plugin_accounts.accounts"), name)
