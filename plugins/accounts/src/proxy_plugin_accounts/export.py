"""``proxy-core credentials export``: write credentials as environment variables, for a host without a disk."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from proxy_core import Provider, private_folder
from proxy_core.cli.api import StoredCredential, environment_name, settings_options, write_private
from proxy_plugin_accounts.accounts import API_KEY, Accounts, file_error, open_accounts
from proxy_plugin_accounts.variables import env_file, to_environment

Pairs = Sequence[tuple[str, str]]

_COMBINED = "all_providers_combined.env"


@click.command("export")
@settings_options
@click.argument("provider", required=False)
@click.argument("name", required=False)
@click.option(
    "--env", "target", default="-", metavar="FILE|-", help="Where to write; - (the default) is the standard output."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help=f"Write a file for each credential into this folder, and all of them into {_COMBINED}.",
)
@click.option("--yes", is_flag=True, help="Show secrets on a terminal; overwrite existing files.")
def export_command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str | None,
    name: str | None,
    target: str,
    folder: Path | None,
    yes: bool,
) -> None:
    """Write PROVIDER's credentials, or those of all providers, as environment variables: plain secrets.

    Exported are the credentials in the vault and the logins that variables define, these with their current tokens.
    Keys from variables and settings are not: they are already where you can copy them from.
    """
    accounts = open_accounts(config, disable_plugin)
    providers = [accounts.provider(provider)] if provider is not None else list(accounts.catalog.providers.values())
    chosen = {found.name: _chosen(accounts, found, name) for found in providers}
    count = sum(map(len, chosen.values()))
    if not count:
        where = providers[0].name if provider is not None else "any provider"
        raise click.ClickException(f"there are no stored credentials for {where} to export")
    pairs = {found.name: _pairs(accounts, found, chosen[found.name]) for found in providers if chosen[found.name]}
    combined = [pair for own in pairs.values() for pair in own]
    if folder is not None:
        _write_each(accounts, chosen, folder, combined, yes)
        target = str(folder)
    elif target != "-":
        _write(Path(target), combined, yes)
    elif sys.stdout.isatty() and not yes:
        raise click.UsageError(
            "secrets would be shown on this terminal: write them to a file with --env FILE, or use --yes"
        )
    else:
        click.echo(env_file(combined), nl=False)
    if target != "-":
        many = "credential" if count == 1 else "credentials"
        click.echo(f"wrote {count} {many} for {', '.join(pairs)} to {target}; only you can read the files", err=True)
    if any(stored.refresh_token for found in chosen.values() for stored in found):
        click.echo(
            "warning: a rotating refresh token must not be used in two places, because the second use loses the"
            f" login. Disable it here first: proxy-core credentials disable {next(iter(pairs))} NAME",
            err=True,
        )


def _chosen(accounts: Accounts, provider: Provider, name: str | None) -> list[StoredCredential]:
    found = accounts.matching(provider.name, name)
    mine = [a for a in found if a.source in ("file", "link") or (a.source == "environment" and a.kind != API_KEY)]
    return [account.stored for account in mine if account.stored is not None]


def _pairs(accounts: Accounts, provider: Provider, chosen: Sequence[StoredCredential]) -> Pairs:
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


def _write_each(
    accounts: Accounts,
    chosen: Mapping[str, Sequence[StoredCredential]],
    folder: Path,
    combined: Pairs,
    replace_it: bool,
) -> None:
    """Each file has the numbers of its own credential, so that any of them can be used together."""
    files = {folder / _COMBINED: combined}
    for provider, credentials in chosen.items():
        every = _pairs(accounts, accounts.catalog.providers[provider], credentials) if credentials else ()
        before = 0
        for stored in credentials:
            own = len(_pairs(accounts, accounts.catalog.providers[provider], [stored]))
            files[folder / f"{provider}_{stored.name}.env"] = every[before : before + own]
            before += own
    private_folder(folder)
    for path, pairs in files.items():
        _write(path, pairs, replace_it)


def _write(path: Path, pairs: Pairs, replace_it: bool) -> None:
    if path.exists() and not replace_it:
        raise click.UsageError(f"{path} exists; use --yes to overwrite it")
    try:
        write_private(path, env_file(pairs).encode())
    except OSError as error:
        raise file_error(error) from error
