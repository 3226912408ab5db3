"""``proxy-core credentials import`` (from other programs' files) and ``export`` (as environment variables)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from proxy_core import Provider, Tokens
from proxy_core.cli.api import (
    StoredCredential,
    VaultProblem,
    digest,
    environment_name,
    notify_running_proxy,
    settings_options,
    write_private,
)
from proxy_plugin_accounts.accounts import API_KEY, Accounts, checked_name, file_error, open_accounts
from proxy_plugin_accounts.import_sources import Origin, find
from proxy_plugin_accounts.keys import copy_keys
from proxy_plugin_accounts.variables import env_file, to_environment

# --- import ------------------------------------------------------------------------------


@click.command("import")
@settings_options
@click.argument("provider")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--link", "how", flag_value="link", help="Share the file: both programs read it and refresh its tokens.")
@click.option("--copy", "how", flag_value="copy", help="Copy the tokens; then stop using them in the other program.")
@click.option("--format", "form", metavar="NAME", help="The file's format (default: try all known formats).")
@click.option("--name", help="Name for the credential (default: the account's name).")
def import_command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str,
    file: Path | None,
    how: str | None,
    form: str | None,
    name: str | None,
) -> None:
    """Import the login or the API keys that another program keeps in FILE.

    Without FILE, look in the places where known programs keep their logins and keys: first files, then the system's
    keychain if the program uses it. --format restricts the search to one of them. A login is linked if the file can
    be shared, unless you give --copy. Keys are always copied.
    """
    accounts = open_accounts(config, disable_plugin)
    found = accounts.provider(provider)
    name = checked_name(accounts.vault, found.name, name)
    origin = find(accounts, found, file, form)
    how = how or ("link" if origin.shared else "copy")
    if how == "link" and origin.form is None:
        raise click.UsageError(f"{'keys' if origin.tokens is None else origin.where} can only be copied")
    try:
        if origin.tokens is None:
            copy_keys(accounts, found, Path(origin.where), origin.keys, name)
        else:
            click.echo(_import(accounts, found, origin, origin.tokens, how, name))
            _warn(origin, origin.tokens, how)
    except FileExistsError as error:
        raise click.ClickException(f"{error}; choose another --name") from error
    except (OSError, VaultProblem) as error:
        raise file_error(error) from error
    notify_running_proxy(accounts.loaded)


def _warn(origin: Origin, tokens: Tokens, how: str) -> None:
    if how == "copy" and tokens.refresh_token is not None:
        advice = ", or import it with --link" if origin.shared else ""
        click.echo(f"two programs now have the same refresh token: stop using the other program{advice}", err=True)


def _import(accounts: Accounts, provider: Provider, origin: Origin, tokens: Tokens, how: str, name: str | None) -> str:
    vault, kind, path = accounts.vault, provider.credential_kind, origin.path
    same = _same(vault.all(provider.name), tokens)
    if same is not None and same.link is not None:
        this = path is not None and same.link.path == Path(os.path.abspath(path))
        where = "this file" if this else str(same.link.path)
        raise click.ClickException(f"{same.name} is already this account, linked to {where}")
    if same is not None and how == "link":
        raise click.ClickException(
            f"{same.name} is already this account, with its own tokens; to share the file instead: "
            f"proxy-core credentials remove {provider.name} {same.name}, then import again"
        )
    if same is not None:
        vault.login(same, tokens)
        return f"{provider.name}: {same.name} now has the tokens from {origin.where}"
    if how == "link" and path is not None and origin.form is not None:
        stored = vault.import_link(provider.name, kind, path, origin.form, name=name)
        return f"{provider.name}: {stored.name} is linked to {path}; the other program and the proxy share it"
    stored = vault.import_tokens(provider.name, kind, tokens, f"copied from {origin.where}", name=name)
    return f"{provider.name}: {stored.name} was copied from {origin.where} to {stored.path}"


def _same(there: Sequence[StoredCredential], tokens: Tokens) -> StoredCredential | None:
    for stored in there:
        if tokens.identity and stored.identity == tokens.identity:
            return stored
        if tokens.refresh_token is not None and digest(stored.refresh_token) == digest(tokens.refresh_token):
            return stored
    return None


# --- export ------------------------------------------------------------------------------


@click.command("export")
@settings_options
@click.argument("provider")
@click.argument("name", required=False)
@click.option(
    "--env", "target", default="-", metavar="FILE|-", help="Where to write; - (the default) is the standard output."
)
@click.option("--yes", is_flag=True, help="Show secrets on a terminal; overwrite an existing file.")
def export_command(
    config: Path | None, disable_plugin: tuple[str, ...], provider: str, name: str | None, target: str, yes: bool
) -> None:
    """Write PROVIDER's credentials as environment variables, for a host without a disk. The output holds plain secrets.

    Only credentials in the vault are exported, not those that variables or settings define.
    """
    accounts = open_accounts(config, disable_plugin)
    found = accounts.provider(provider)
    chosen = [a.stored for a in accounts.matching(found.name, name) if a.source in ("file", "link") and a.stored]
    if not chosen:
        raise click.ClickException(f"the vault has no credentials for {found.name} to export")
    pairs = _pairs(accounts, found, chosen)
    text = env_file(pairs)
    if target == "-":
        if sys.stdout.isatty() and not yes:
            raise click.UsageError(
                "secrets would be shown on this terminal: write them to a file with --env FILE, or use --yes"
            )
        click.echo(text, nl=False)
    else:
        _write(Path(target), text, yes)
        many = "credential" if len(chosen) == 1 else "credentials"
        click.echo(f"wrote {len(chosen)} {many} for {found.name} to {target}; only you can read the file", err=True)
    if any(stored.refresh_token for stored in chosen):
        click.echo(
            "warning: a rotating refresh token must not be used in two places, because the second use loses the"
            f" login. Disable it here first: proxy-core credentials disable {found.name} NAME",
            err=True,
        )


def _pairs(accounts: Accounts, provider: Provider, chosen: Sequence[StoredCredential]) -> list[tuple[str, str]]:
    keys = [stored for stored in chosen if stored.kind == API_KEY]
    logins = [stored for stored in chosen if stored.kind != API_KEY]
    word = environment_name(provider.name)
    pairs = [(f"{word}_API_KEY_{n}", stored.access_token.get_secret_value()) for n, stored in enumerate(keys, 1)]
    if logins:
        refresher = accounts.refresher(provider)
        if refresher is None or not refresher.environment:
            raise click.UsageError(f"logins for {provider.name} cannot be exported as variables")
        pairs += to_environment(refresher.environment, logins)
    return pairs


def _write(path: Path, text: str, replace_it: bool) -> None:
    if path.exists() and not replace_it:
        raise click.UsageError(f"{path} exists; use --yes to overwrite it")
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise file_error(error) from error
