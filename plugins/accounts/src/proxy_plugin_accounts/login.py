"""``proxy-core login PROVIDER``: log in, for the first time or again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy_core import (
    CredentialRefresher,
    LoginFailed,
    LoginMethod,
    LoginPrompt,
    LoginRequired,
    Provider,
    RetryRefresh,
    Tokens,
)
from proxy_core.cli.api import StoredCredential, VaultProblem, notify_running_proxy, open_http, settings_options
from proxy_plugin_accounts.accounts import (
    Accounts,
    check_keys,
    check_storing_for,
    checked_name,
    file_error,
    open_accounts,
)
from proxy_plugin_accounts.terminal import TerminalPrompt, confirmed, is_headless

_INTERRUPTED = 130


@click.command("login")
@settings_options
@click.argument("provider")
@click.option(
    "--name", help="Name for the login (default: the account's name). Updates an existing login of that name."
)
@click.option("--browser", "method", flag_value="browser", help="Use a browser on this machine.")
@click.option("--paste", "method", flag_value="paste", help="Use a browser on another machine and paste the result.")
@click.option("--device", "method", flag_value="device", help="Enter a code on any other device.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str,
    name: str | None,
    method: LoginMethod | None,
    yes: bool,
) -> None:
    """Log in to PROVIDER and store the login. This works over SSH; no browser is needed on this machine.

    Logging in again updates the existing account. A running proxy picks up the change.
    """
    accounts = open_accounts(config, disable_plugin)
    found = accounts.provider(provider)
    refresher = accounts.refresher(found)
    if refresher is None or refresher.login is None:
        if found.credential_kind == "api_key":
            raise click.UsageError(f"{found.name} takes API keys: proxy-core credentials add {found.name}")
        raise click.UsageError(f"{found.name} has no login command; see `proxy-core credentials import --help`")
    if method is not None and method not in refresher.login_methods:
        offered = ", ".join(f"--{name}" for name in refresher.login_methods)
        offered = offered or "no choice of --browser, --paste or --device; leave the option out"
        raise click.UsageError(f"the login for {found.name} offers {offered}")
    checked_name(accounts.vault, found.name, name)
    try:
        prompt = TerminalPrompt(headless=is_headless(accounts.loaded), method=method)
        tokens = asyncio.run(log_in(accounts, found, refresher, prompt, yes))
    except KeyboardInterrupt:
        click.echo("\ncancelled; nothing was saved", err=True)
        raise SystemExit(_INTERRUPTED) from None
    if tokens is None:
        raise click.ClickException("not logged in; nothing was saved")
    try:
        save(accounts, found, tokens, name)
    except (OSError, VaultProblem) as error:
        raise file_error(error) from error
    notify_running_proxy(accounts.loaded)


async def log_in(
    accounts: Accounts, provider: Provider, refresher: CredentialRefresher, prompt: LoginPrompt, yes: bool
) -> Tokens | None:
    """``None`` if the user does not want to after all. Raises ``ClickException``, ``SettingsError``."""
    check_keys(accounts.vault)
    check_storing_for(accounts, provider.name)
    network = open_http(accounts.loaded, accounts.catalog, provider.name, to_log_in=True)
    for line in about(provider, refresher):
        prompt.say(line)
    if not yes and not await confirmed(prompt, f"Log in to {provider.name}?"):
        return None
    assert refresher.login is not None
    try:
        async with network as exchange:
            return await refresher.login(prompt, exchange)
    except (LoginFailed, LoginRequired, RetryRefresh) as error:
        raise click.ClickException(str(error)) from error
    except EOFError:
        raise click.ClickException("the standard input ended before the login; nothing was saved") from None
    except Exception as error:  # a plugin's login may fail in any way; its message may contain secrets
        raise click.ClickException(f"the login to {provider.name} failed: {type(error).__name__}") from error


def about(provider: Provider, refresher: CredentialRefresher) -> list[str]:
    """What the user should know first: the provider's life cycle, and what its terms of service say."""
    life = provider.lifecycle
    until = f" until {life.until}" if life.status == "limited" and life.until else ""
    until = f" since {life.until}" if life.status == "ended" and life.until else until
    lines = [f"{provider.name}: {life.status}{until}"]
    return [line for line in (*lines, life.note, life.link, refresher.notice) if line]


def save(
    accounts: Accounts,
    provider: Provider,
    tokens: Tokens,
    name: str | None,
    say: Callable[[str], object] = click.echo,
) -> StoredCredential:
    """Store a new login, or update that of the same account. Raises ``VaultProblem``, ``OSError``."""
    vault = accounts.vault
    there = vault.all(provider.name)
    same = _same_account(there, tokens, name)
    if same is not None:
        stored = vault.login(same, tokens)
        say(f"{provider.name}: the login {_called(stored)} was updated")
        if stored.disabled:
            say(f"it is disabled; to enable it: proxy-core credentials enable {provider.name} {stored.name}")
        return stored
    if name is not None and any(s.name == name for s in there):
        say(f"{name!r} is the name of another account; this one gets a different name")
        name = None
    blank = StoredCredential(
        provider=provider.name,
        name=name or vault.free_name(provider.name, tokens.identity),
        kind=provider.credential_kind,
        origin="login",
        added_at=datetime.now(UTC),
    )
    stored = vault.add(blank.with_tokens(tokens))
    say(f"{provider.name}: {_called(stored)} was saved in {stored.path}")
    return stored


def _same_account(there: list[StoredCredential], tokens: Tokens, name: str | None) -> StoredCredential | None:
    """Match by identity, preferring our own file over a linked one; if either has no identity, by name."""
    if tokens.identity:
        same = [s for s in there if s.identity == tokens.identity]
        if same:
            return min(same, key=lambda s: (s.name != name, s.link is not None, s.disabled))
    named = [s for s in there if s.name == name]
    return next((s for s in named if not (s.identity and tokens.identity)), None)


def _called(stored: StoredCredential) -> str:
    if stored.identity and stored.identity != stored.name:
        return f"{stored.name} ({stored.identity})"
    return stored.name
