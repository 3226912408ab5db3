"""``proxy-core credentials test``: whether a provider accepts its credentials now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec.structs import replace

from proxy_core import (
    CredentialRefresher,
    HttpClient,
    LoginRequired,
    Provider,
    RetryRefresh,
    SetupRequired,
    SystemClock,
    TransportFailed,
)
from proxy_core.cli.api import StoredCredential, open_http, printable, refresh_once, secret_values, settings_options
from proxy_plugin_accounts.accounts import API_KEY, Account, Accounts, open_accounts


@click.command("test")
@settings_options
@click.argument("provider")
@click.argument("name", required=False)
def test_command(config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str | None) -> None:
    """Test PROVIDER's credentials, or only NAME, with the login's own test or a request for the list of models.

    Expired tokens are refreshed first. The exit code is 1 if a credential does not work.
    """
    accounts = open_accounts(config, disable_plugin)
    found = accounts.provider(provider)
    chosen = accounts.matching(found.name, name)
    if not chosen:
        raise click.ClickException(f"{found.name} has no credential")
    results = asyncio.run(_try_all(accounts, found, chosen))
    for account, (good, words) in zip(chosen, results, strict=True):
        click.echo(f"{found.name} {account.name}: {'ok' if good else 'FAILED'}{': ' if words else ''}{words}")
    if not all(good for good, _ in results):
        raise SystemExit(1)


async def _try_all(accounts: Accounts, provider: Provider, chosen: Sequence[Account]) -> list[tuple[bool, str]]:
    results = []
    async with open_http(accounts.loaded, accounts.catalog, provider.name) as exchange:
        for account in chosen:
            good, words = await _try(accounts, provider, account, exchange)
            results.append((good, _clean(words, account.stored)))
    return results


async def _try(accounts: Accounts, provider: Provider, account: Account, exchange: HttpClient) -> tuple[bool, str]:
    if account.stored is None:
        return False, account.why
    if account.stored.needs_login is not None:
        return False, account.why
    refresher = accounts.refresher(provider) if account.kind != API_KEY else None
    stored = account.stored
    try:
        if refresher is not None and stored.due(datetime.now(UTC), 0.0):
            stored = await _refreshed(accounts, account, refresher, exchange)
        try:
            return await _tested(accounts, provider, stored, refresher, exchange)
        except LoginRequired:
            if refresher is None or stored.refresh_token is None or stored is not account.stored:
                raise
        # A token can end before its time, as a running proxy finds out in the same way.
        stored = await _refreshed(accounts, account, refresher, exchange)
        return await _tested(accounts, provider, stored, refresher, exchange)
    except LoginRequired as error:
        return False, str(error)
    except SetupRequired as error:
        return False, f"cannot be refreshed: {error}"
    except RetryRefresh as error:
        return False, f"cannot be refreshed now: {error}"
    except TransportFailed as error:
        return False, f"the provider cannot be reached ({error})"
    except Exception as error:  # a plugin's test may fail in any way; its message may contain secrets
        return False, type(error).__name__


async def _refreshed(
    accounts: Accounts, account: Account, refresher: CredentialRefresher, exchange: HttpClient
) -> StoredCredential:
    stored = account.stored
    assert stored is not None
    if account.source == "environment":
        # A refresh replaces the variable's token, so the vault has to keep the new one.
        [stored] = await asyncio.to_thread(accounts.vault.adopt, [replace(stored, path=None)])
    return (await refresh_once(stored, refresher, exchange, accounts.vault, SystemClock())).stored


async def _tested(
    accounts: Accounts,
    provider: Provider,
    stored: StoredCredential,
    refresher: CredentialRefresher | None,
    exchange: HttpClient,
) -> tuple[bool, str]:
    credential = stored.credential(accounts.fingerprint)
    if refresher is not None and refresher.test is not None:
        return True, await refresher.test(credential, exchange)
    if provider.list_models is None:
        return True, "cannot be tested: the provider has neither a test nor a list of models"
    answer = await exchange(provider.list_models.request(credential))
    if answer.status in (401, 403):
        return False, f"rejected by the provider (status {answer.status})"
    if answer.status != 200:
        return False, f"the provider answered its models request with status {answer.status}"
    try:
        return True, f"{len(provider.list_models.parse(answer.body))} models"
    except ValueError:
        return False, "the provider's list of models cannot be read"


def _clean(words: str, stored: StoredCredential | None) -> str:
    """Printable text without the credential, which an upstream or a plugin may repeat."""
    text = printable(words)
    if stored is not None:
        hidden = [stored.access_token, stored.refresh_token, *stored.details.values()]
        for secret in sorted(secret_values(hidden), key=len, reverse=True):
            text = text.replace(secret, "[redacted]") if secret else text
    return text
