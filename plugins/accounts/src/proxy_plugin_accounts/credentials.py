"""``proxy-core credentials``: list and change credentials."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from proxy_core.cli.api import StoredCredential, VaultProblem, notify_running_proxy, settings_options, table
from proxy_plugin_accounts.accounts import Account, Accounts, checked_name, file_error, open_accounts
from proxy_plugin_accounts.keys import keys_from, store_keys, typed_keys
from proxy_plugin_accounts.terminal import TerminalPrompt, confirmed

_ELSEWHERE = {
    "import": "transfer",
    "export": "export",
    "test": "check",
    "encrypt": "encryption",
    "vault-key": "encryption",
}


class _Credentials(click.Group):
    """A group whose larger commands have their own modules, imported only when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            module = import_module(f"proxy_plugin_accounts.{_ELSEWHERE[cmd_name]}")
            found: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
            return found
        return super().get_command(ctx, cmd_name)


@click.group("credentials", cls=_Credentials)
def command() -> None:
    """List, add, remove, disable, test, import and export logins and API keys."""


# --- list --------------------------------------------------------------------------------


@command.command("list")
@settings_options
@click.argument("provider", required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_command(config: Path | None, disable_plugin: tuple[str, ...], provider: str | None, as_json: bool) -> None:
    """List credentials from all sources: files, linked files, variables, settings. Secrets are never shown."""
    accounts = open_accounts(config, disable_plugin)
    names = accounts.names()
    if provider is not None and provider not in names:
        names = [accounts.provider(provider).name]
    elif provider is not None:
        names = [provider]
    found = [account for name in names for account in accounts.of(name)]
    if as_json:
        click.echo(json.dumps([described(account) for account in found], indent=2))
    elif not found:
        click.echo("no credentials; add one with `proxy-core login PROVIDER` or `proxy-core credentials add PROVIDER`")
    else:
        click.echo(_listed(found))


def described(account: Account) -> dict[str, Any]:
    """One entry of ``--json``."""
    stored = account.stored
    return {
        "provider": account.provider,
        "name": account.name,
        "id": account.id,
        "kind": account.kind,
        "identity": stored.identity if stored else None,
        "tier": stored.tier if stored else None,
        "priority": stored.priority if stored else None,
        "expires_at": expires_at.isoformat() if (expires_at := _expiry(account)) is not None else None,
        "state": account.state,
        "why": account.why or None,
        "source": account.source,
        "place": account.place,
        "same_as": account.same_as or None,
    }


def _expiry(account: Account) -> datetime | None:
    """``None`` if it is not known: the beginning of the epoch stands for a time that a file does not say."""
    expires_at = account.stored.expires_at if account.stored is not None else None
    return expires_at if expires_at is not None and expires_at.timestamp() > 0 else None


def _listed(found: list[Account]) -> str:
    head = ("provider", "name", "id", "kind", "account", "tier", "expires", "state", "from", "where")
    rows = []
    for account in found:
        stored = account.stored
        state = f"{account.state}: {account.why}" if account.why else account.state
        if account.same_as:
            state += f" (same account as {account.same_as})"
        rows.append(
            (
                *(account.provider, account.name, account.id, account.kind),
                (stored.identity if stored else None) or "-",
                (stored.tier if stored else None) or "-",
                f"{expires_at:%Y-%m-%d %H:%M}" if (expires_at := _expiry(account)) is not None else "-",
                *(state, account.source, account.place),
            )
        )
    return table(head, rows)


# --- Changing ----------------------------------------------------------------------------


@command.command("add")
@settings_options
@click.argument("provider")
@click.option("--name", help="Name for the key, or the first of several (default: a number).")
@click.option("--tier", help="The subscription plan behind it, as in [providers.<name>.rotation] tiers.")
@click.option("--priority", type=click.IntRange(min=1), help="Lower goes first.")
def add_command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str,
    name: str | None,
    tier: str | None,
    priority: int | None,
) -> None:
    """Store API keys for PROVIDER. They are typed in without being shown, or read from the standard input, one a line.

    \b
    proxy-core credentials add openai < keys.txt
    """
    accounts = open_accounts(config, disable_plugin)
    provider = accounts.taking_keys(provider)
    name = checked_name(accounts.vault, provider, name)
    keys = _typed(provider) if sys.stdin.isatty() else keys_from(Path("-"))
    new = store_keys(accounts, provider, keys, name=name, tier=tier, priority=priority)
    if not new:
        raise click.ClickException("nothing was saved")
    notify_running_proxy(accounts.loaded)


def _typed(provider: str) -> list[SecretStr]:
    try:
        return asyncio.run(typed_keys(TerminalPrompt(headless=True), provider))
    except (EOFError, KeyboardInterrupt):
        click.echo()
        raise click.ClickException("no key was given; nothing was saved") from None


@command.command("remove")
@settings_options
@click.argument("provider")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_command(config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str, yes: bool) -> None:
    """Delete a credential from the vault. A linked file is kept, because it belongs to another program."""
    accounts, stored = _one(config, disable_plugin, provider, name)
    prompt = TerminalPrompt(headless=True)
    if not yes and not asyncio.run(confirmed(prompt, f"Delete {stored.provider} {stored.name} and its tokens?")):
        raise click.ClickException("nothing was removed")
    try:
        accounts.vault.remove(stored)
    except OSError as error:
        raise file_error(error) from error
    kept = f"; {stored.link.path} is unchanged" if stored.link else ""
    click.echo(f"{stored.provider}: {stored.name} was removed{kept}")
    notify_running_proxy(accounts.loaded)


@command.command("disable")
@settings_options
@click.argument("provider")
@click.argument("name")
def disable_command(config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str) -> None:
    """Stop using a credential, but keep it."""
    _set_disabled(config, disable_plugin, provider, name, True)


@command.command("enable")
@settings_options
@click.argument("provider")
@click.argument("name")
def enable_command(config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str) -> None:
    """Use a disabled credential again."""
    _set_disabled(config, disable_plugin, provider, name, False)


def _set_disabled(
    config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str, disabled: bool
) -> None:
    accounts, stored = _one(config, disable_plugin, provider, name)
    changed, words = set_disabled(accounts, stored, disabled)
    click.echo(words)
    if changed:
        notify_running_proxy(accounts.loaded)


def set_disabled(accounts: Accounts, stored: StoredCredential, disabled: bool) -> tuple[bool, str]:
    """Returns whether that changed anything, and what to say. Raises ``ClickException``."""
    word = "disabled" if disabled else "enabled"
    if stored.disabled == disabled:
        return False, f"{stored.provider}: {stored.name} is already {word}"
    try:
        accounts.vault.set_disabled(stored, disabled)
    except (OSError, VaultProblem) as error:
        raise file_error(error) from error
    return True, f"{stored.provider}: {stored.name} is {word}"


def _one(
    config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str
) -> tuple[Accounts, StoredCredential]:
    """A credential from the vault, even if the plugin of its provider is no longer installed."""
    accounts = open_accounts(config, disable_plugin)
    known = provider if provider in accounts.names() else accounts.provider(provider).name
    return accounts, accounts.in_vault(known, name)
