"""``proxy-core credentials test``: whether a provider accepts its credentials now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import (
    Credential,
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
    results = asyncio.run(try_all(accounts, found, chosen))
    for account, (good, words) in zip(chosen, results, strict=True):
        click.echo(f"{found.name} {account.name}: {'ok' if good else 'FAILED'}{': ' if words else ''}{words}")
    if not all(good for good, _ in results):
        raise SystemExit(1)


async def try_all(accounts: Accounts, provider: Provider, chosen: Sequence[Account]) -> list[tuple[bool, str]]:
    """Whether each works, and what to say about it."""
    results = []
    async with open_http(accounts.loaded, accounts.catalog, provider.name) as exchange:
        for account in chosen:
            good, words = await _told(_try(accounts, provider, account, exchange))
            results.append((good, _clean(words, account.stored)))
    return results


async def renew(accounts: Accounts, provider: Provider, account: Account) -> tuple[bool, str]:
    """Refresh its token now, whenever that expires; returns whether it worked, and what to say about it."""
    refresher, stored = accounts.refresher(provider), account.stored
    if stored is None or stored.needs_login is not None:
        return False, account.why
    if refresher is None or stored.refresh_token is None:
        return False, "it has no token that could be renewed"
    async with open_http(accounts.loaded, accounts.catalog, provider.name) as exchange:
        good, words = await _told(_renewed(accounts, account, refresher, exchange))
    return good, _clean(words, stored)


async def _renewed(
    accounts: Accounts, account: Account, refresher: CredentialRefresher, exchange: HttpClient
) -> tuple[bool, str]:
    stored = await _refreshed(accounts, account, refresher, exchange)
    until = f" and is valid until {stored.expires_at:%Y-%m-%d %H:%M} UTC" if stored.expires_at is not None else ""
    return True, f"its token was renewed{until}"


async def _try(accounts: Accounts, provider: Provider, account: Account, exchange: HttpClient) -> tuple[bool, str]:
    if account.stored is None:
        return False, account.why
    if account.stored.needs_login is not None:
        return False, account.why
    refresher = accounts.refresher(provider) if account.kind != API_KEY else None
    stored = account.stored
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


async def _told(work: Awaitable[tuple[bool, str]]) -> tuple[bool, str]:
    """The outcome of a test or a refresh, in words also if it failed."""
    try:
        return await work
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
    tried = await _asked(provider, credential, exchange)
    return tried.good, tried.words


class Tried(Struct, frozen=True, kw_only=True):
    """What a provider said to a credential. ``refused``: another credential may work."""

    good: bool
    words: str
    refused: bool = False
    models: Sequence[str] = ()


async def tried(accounts: Accounts, provider: Provider, stored: StoredCredential | None) -> Tried:
    """What the provider says to a credential that is not stored yet, or to none. Raises ``SettingsError``."""
    blank = Credential(id="none", provider=provider.name, kind="none", secret=SecretStr(""), label="none")
    credential = stored.credential(accounts.fingerprint) if stored is not None else blank
    network = open_http(accounts.loaded, accounts.catalog, provider.name, to_log_in=stored is not None)
    async with network as exchange:
        try:
            found = await _asked(provider, credential, exchange)
        except TransportFailed as error:
            found = Tried(good=False, words=f"the provider cannot be reached ({error})")
        except Exception as error:  # a plugin's parser may fail in any way; its message may contain secrets
            found = Tried(good=False, words=type(error).__name__)
    return replace(found, words=_clean(found.words, stored))


async def _asked(provider: Provider, credential: Credential, exchange: HttpClient) -> Tried:
    if provider.list_models is None:
        known = [model.id for model in provider.models]
        words = "cannot be tested: the provider has neither a test nor a list of models"
        return Tried(good=True, words=words, models=known)
    answer = await exchange(provider.list_models.request(credential))
    if answer.status in (401, 403):
        return Tried(good=False, words=f"rejected by the provider (status {answer.status})", refused=True)
    if answer.status != 200:
        return Tried(good=False, words=f"the provider answered its models request with status {answer.status}")
    try:
        models = [model.id for model in provider.list_models.parse(answer.body)]
    except ValueError:
        return Tried(good=False, words="the provider's list of models cannot be read")
    return Tried(good=True, words=f"{len(models)} model{'' if len(models) == 1 else 's'}", models=models)


def _clean(words: str, stored: StoredCredential | None) -> str:
    """Printable text without the credential, which an upstream or a plugin may repeat."""
    text = printable(words)
    if stored is not None:
        hidden = [stored.access_token, stored.refresh_token, *stored.details.values()]
        for secret in sorted(secret_values(hidden), key=len, reverse=True):
            text = text.replace(secret, "[redacted]") if secret else text
    return text
