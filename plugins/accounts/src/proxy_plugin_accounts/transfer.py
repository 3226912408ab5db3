"""``proxy-core credentials import``: take over logins and keys from other programs' files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from proxy_core import Provider, Tokens
from proxy_core.cli.api import (
    StoredCredential,
    VaultProblem,
    digest,
    notify_running_proxy,
    settings_options,
)
from proxy_plugin_accounts.accounts import Accounts, check_storing_for, checked_name, file_error, open_accounts
from proxy_plugin_accounts.import_sources import Origin, find
from proxy_plugin_accounts.keys import copy_keys


@click.command("import")
@settings_options
@click.argument("provider")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--link", "how", flag_value="link", help="Share the file: both programs read it and refresh its tokens.")
@click.option("--copy", "how", flag_value="copy", help="Copy the tokens; then stop using them in the other program.")
@click.option("--format", "form", metavar="NAME", help="The file's format (default: recognized by its content).")
@click.option("--name", help="Name for the credential (default: the account's name).")
def import_command(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str,
    files: tuple[Path, ...],
    how: str | None,
    form: str | None,
    name: str | None,
) -> None:
    """Import the logins or the API keys that other programs keep in FILES. A folder stands for the files in it.

    Without FILES, look in the places where known programs keep their logins and keys: first files, then the system's
    keychain if the program uses it. --format restricts the search to one of them. A login is linked if the file can
    be shared, unless you give --copy. Keys are always copied.
    """
    accounts = open_accounts(config, disable_plugin)
    found = accounts.provider(provider)
    name = checked_name(accounts.vault, found.name, name)
    if name is not None and (len(files) > 1 or any(os.path.isdir(file) for file in files)):
        raise click.UsageError("--name is for a single file")
    importing = _Importing(accounts, found, how, form, name)
    problems = [problem for file in files or (None,) for problem in importing.run(file)]
    if importing.imported:
        notify_running_proxy(accounts.loaded)
    if len(problems) == 1 and not importing.imported:
        raise problems[0]
    for problem in problems:
        click.echo(f"Error: {problem.format_message()}", err=True)
    if problems or not importing.imported:
        raise SystemExit(1)


class _Importing:
    """One run of the command. ``imported``: the logins so far, and where each came from."""

    def __init__(
        self, accounts: Accounts, provider: Provider, how: str | None, form: str | None, name: str | None
    ) -> None:
        self._accounts = accounts
        self._provider = provider
        self._how = how
        self._form = form
        self._name = name
        self.imported: dict[str, str] = {}

    def run(self, file: Path | None) -> Iterator[click.ClickException]:
        """Import a file, or what is in a folder; yields what went wrong. Other files in a folder are only mentioned."""
        if file is None or not os.path.isdir(file):
            try:
                self._one(file)
            except click.ClickException as error:
                yield error
            return
        before = len(self.imported)
        try:
            inside = sorted(path for path in file.iterdir() if os.path.isfile(path) and not path.name.startswith("."))
        except OSError as error:
            yield file_error(error)
            return
        for inner in inside:
            try:
                self._one(inner)
            except click.ClickException as error:
                click.echo(f"skipped: {error.format_message()}", err=True)
        if len(self.imported) == before:
            yield click.ClickException(f"{file} contains nothing to import for {self._provider.name}")

    def _one(self, file: Path | None) -> None:
        """Raises ``ClickException``."""
        accounts, provider = self._accounts, self._provider
        origin = find(accounts, provider, file, self._form)
        how = self._how or ("link" if origin.shared else "copy")
        if how == "link" and origin.form is None:
            raise click.UsageError(f"{'keys' if origin.tokens is None else origin.where} can only be copied")
        try:
            if origin.tokens is None:
                copy_keys(accounts, provider, Path(origin.where), origin.keys, self._name)
                self.imported[origin.where] = origin.where
            else:
                self._login(origin, origin.tokens, how)
        except FileExistsError as error:
            raise click.ClickException(f"{error}; choose another --name") from error
        except (OSError, VaultProblem) as error:
            raise file_error(error) from error

    def _login(self, origin: Origin, tokens: Tokens, how: str) -> None:
        same = _same(self._accounts.vault.all(self._provider.name), tokens)
        if same is not None and same.name in self.imported:
            earlier = self.imported[same.name]
            click.echo(f"{origin.where} is the same account as {earlier}; it was not imported again", err=True)
            return
        stored, words = _stored(self._accounts, self._provider, origin, tokens, how, self._name, same)
        click.echo(words)
        self.imported[stored.name] = origin.where
        if how == "copy" and tokens.refresh_token is not None:
            advice = ", or import it with --link" if origin.shared else ""
            click.echo(f"two programs now have the same refresh token: stop using the other program{advice}", err=True)


def _stored(
    accounts: Accounts,
    provider: Provider,
    origin: Origin,
    tokens: Tokens,
    how: str,
    name: str | None,
    same: StoredCredential | None,
) -> tuple[StoredCredential, str]:
    vault, kind, path = accounts.vault, provider.credential_kind, origin.path
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
        return vault.login(same, tokens), f"{provider.name}: {same.name} now has the tokens from {origin.where}"
    check_storing_for(accounts, provider.name)
    form = f" (format {origin.form.name})" if origin.form is not None else ""
    if how == "link" and path is not None and origin.form is not None:
        stored = vault.import_link(provider.name, kind, path, origin.form, name=name)
        return (
            stored,
            f"{provider.name}: {stored.name} is linked to {path}{form}; the other program and the proxy share it",
        )
    stored = vault.import_tokens(provider.name, kind, tokens, f"copied from {origin.where}", name=name)
    return stored, f"{provider.name}: {stored.name} was copied from {origin.where}{form} to {stored.path}"


def _same(there: Sequence[StoredCredential], tokens: Tokens) -> StoredCredential | None:
    for stored in there:
        if tokens.identity and stored.identity == tokens.identity:
            return stored
        if tokens.refresh_token is not None and digest(stored.refresh_token) == digest(tokens.refresh_token):
            return stored
    return None
