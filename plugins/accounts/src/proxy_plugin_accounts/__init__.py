"""The commands about accounts: ``proxy-core init``, ``login``, ``credentials`` and ``providers``.

It serves nothing and has no settings; a proxy that runs does not import its commands. Other plugins' commands
find all credentials of an installation through :func:`open_accounts`, and change them by the functions behind the
commands, which return what they did instead of printing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proxy_core import PluginContext, PluginInfo, hookimpl

if TYPE_CHECKING:
    import click

    from proxy_plugin_accounts.accounts import Account, Accounts, accounts_of, checked_name, open_accounts
    from proxy_plugin_accounts.check import renew, try_all
    from proxy_plugin_accounts.credentials import set_disabled
    from proxy_plugin_accounts.keys import keys_in, store_keys
    from proxy_plugin_accounts.login import about, log_in, save

__all__ = [
    "PLUGIN",
    "Account",
    "Accounts",
    "about",
    "accounts_of",
    "checked_name",
    "keys_in",
    "log_in",
    "open_accounts",
    "renew",
    "save",
    "set_disabled",
    "store_keys",
    "try_all",
]

PLUGIN = PluginInfo(name="accounts", api=1)


@hookimpl
def proxy_cli_commands(ctx: PluginContext) -> Iterable[click.Command]:
    from proxy_plugin_accounts import credentials, init, login, providers

    return [login.command, credentials.command, init.command, providers.command]


_HOMES = {
    **dict.fromkeys(("Account", "Accounts", "accounts_of", "checked_name", "open_accounts"), "accounts"),
    **dict.fromkeys(("renew", "try_all"), "check"),
    **dict.fromkeys(("keys_in", "store_keys"), "keys"),
    **dict.fromkeys(("about", "log_in", "save"), "login"),
    "set_disabled": "credentials",
}


def __getattr__(name: str) -> Any:
    """What others import is imported only then: it needs click and the core's command line."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"proxy_plugin_accounts.{_HOMES[name]}"), name)
