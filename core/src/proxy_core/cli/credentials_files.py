"""``proxy-core credentials import`` and ``export``: from other programs' files, and to variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from proxy_core.cli.accounts import API_KEY, Accounts, cannot, checked_name, open_accounts
from proxy_core.cli.common import printable, settings_options
from proxy_core.cli.credentials_keys import copy_keys
from proxy_core.cli.running import tell_credentials
from proxy_core.credentials.files import write_private
from proxy_core.credentials.foreign import read_foreign
from proxy_core.credentials.stateless import env_file, to_environment
from proxy_core.credentials.stored import StoredCredential, VaultProblem, digest
from proxy_core.interfaces import FoundKey, KeyFile, Provider, TokenFile, Tokens
from proxy_core.loading import other_variables
from proxy_core.tables import environment_name

AnyFile = TokenFile | KeyFile

# --- import ------------------------------------------------------------------------------


@click.command("import")
@settings_options
@click.argument("provider")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--link", "how", flag_value="link", help="Share the file: both programs read and renew it.")
@click.option("--copy", "how", flag_value="copy", help="Take the tokens over; do not go on with the file elsewhere.")
@click.option("--format", "form", metavar="NAME", help="Which program's file it is; else all known ones are tried.")
@click.option("--name", help="What to call it; else the account's name.")
def import_command(
    config: Path | None,
    no_plugin: tuple[str, ...],
    provider: str,
    file: Path | None,
    how: str | None,
    form: str | None,
    name: str | None,
) -> None:
    """Take the login, or the API keys, that another program keeps in FILE; without FILE, where that program has it.

    A login is linked where the file can be shared, unless you say --copy. Keys are always copied.
    """
    accounts = open_accounts(config, no_plugin)
    found = accounts.provider(provider)
    name = checked_name(accounts.vault, found.name, name)
    candidates = _candidates(file, _formats(accounts, found, form))
    path, known, read = _readable(accounts, candidates)
    try:
        if isinstance(known, TokenFile) and isinstance(read, Tokens):
            _take_login(accounts, found, path, known, read, how, name)
        elif isinstance(known, KeyFile) and not isinstance(read, Tokens):
            if how == "link":
                raise click.UsageError("keys can only be copied")
            copy_keys(accounts, found, path, read, name)
    except FileExistsError as error:
        raise click.ClickException(f"{error}; choose another --name") from error
    except (OSError, VaultProblem) as error:
        raise cannot(error) from error
    for other, form_of_it in candidates:
        if file is None and isinstance(form_of_it, KeyFile) and isinstance(known, TokenFile):
            click.echo(f"{other} may have keys: proxy-core credentials import {found.name} {other}", err=True)
    tell_credentials(accounts.loaded)


def _take_login(
    accounts: Accounts,
    provider: Provider,
    path: Path,
    form: TokenFile,
    tokens: Tokens,
    how: str | None,
    name: str | None,
) -> None:
    how = how or ("link" if form.write is not None else "copy")
    click.echo(_import(accounts, provider, path, form, tokens, how, name))
    if how == "copy" and tokens.refresh_token is not None:
        click.echo("its refresh token is in two places now: stop using that file, or import it with --link", err=True)


def _formats(accounts: Accounts, provider: Provider, wanted: str | None) -> Sequence[AnyFile]:
    """What its logins and keys may come from. Raises ``UsageError``."""
    refresher = accounts.refresher(provider)
    every: list[AnyFile] = [*(refresher.files if refresher is not None else ()), *provider.key_files]
    if not every:
        raise click.UsageError(f"{provider.name} knows no other program's files")
    known = [form for form in every if wanted in (None, form.name)]
    if not known:
        raise click.UsageError(f"--format {wanted!r} is not one of {', '.join(form.name for form in every)}")
    return known


def _candidates(file: Path | None, forms: Sequence[AnyFile]) -> list[tuple[Path, AnyFile]]:
    if file is not None:
        if not file.is_file():
            raise click.UsageError(f"there is no file {file}")
        return [(file, form) for form in forms]
    usual = [(Path(path).expanduser(), form) for form in forms for path in form.paths]
    there = [(path, form) for path, form in usual if path.is_file()]
    if not there:
        looked = ", ".join(str(path) for path, _ in usual) or "nowhere: no usual place is known, name the file"
        raise click.ClickException(f"nothing to import; looked at {looked}")
    return there


def _readable(
    accounts: Accounts, candidates: Sequence[tuple[Path, AnyFile]]
) -> tuple[Path, AnyFile, Tokens | Sequence[FoundKey]]:
    """The first that can be read. Raises ``ClickException`` with a line per attempt."""
    problems = []
    for path, form in candidates:
        try:
            if isinstance(form, KeyFile):
                return path, form, _read_keys(accounts, path, form)
            tokens = read_foreign(path, form)
        except VaultProblem as problem:
            problems.append(printable(str(problem)))
            continue
        except Exception as error:  # a plugin's reader, given a file it did not expect
            problems.append(f"{path}: is not a file of {form.name!r} ({type(error).__name__})")
            continue
        if tokens.refresh_token is None and not tokens.access_token.get_secret_value():
            problems.append(f"{path}: there is no token in it; log in with its program first")
            continue
        return path, form, tokens
    raise click.ClickException("; ".join(problems))


def _read_keys(accounts: Accounts, path: Path, form: KeyFile) -> Sequence[FoundKey]:
    """Raises ``VaultProblem``."""
    try:
        return form.read(path.read_bytes(), other_variables(accounts.loaded.sources, form.dotenvs))
    except OSError as error:
        raise VaultProblem(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise VaultProblem(path, f"has nothing for {form.name!r}: {error}") from error


def _import(
    accounts: Accounts, provider: Provider, path: Path, form: TokenFile, tokens: Tokens, how: str, name: str | None
) -> str:
    vault, kind = accounts.vault, provider.credential_kind
    same = _same(vault.all(provider.name), tokens)
    if same is not None and same.link is not None:
        where = "this file" if same.link.path == Path(os.path.abspath(path)) else str(same.link.path)
        raise click.ClickException(f"{same.name} is this account already, linked to {where}")
    if same is not None and how == "link":
        raise click.ClickException(
            f"{same.name} is this account already, with tokens of its own; to share the file instead: "
            f"proxy-core credentials remove {provider.name} {same.name}, then import again"
        )
    if same is not None:
        vault.login(same, tokens)
        return f"{provider.name}: {same.name} has the tokens of {path} now"
    if how == "link":
        stored = vault.import_link(provider.name, kind, path, form, name=name)
        return f"{provider.name}: {stored.name} is linked to {path}; its program and the proxy share it"
    stored = vault.import_copy(provider.name, kind, path, form, name=name)
    return f"{provider.name}: {stored.name} was copied from {path} to {stored.path}"


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
@click.option("--env", "target", default="-", metavar="FILE|-", help="Where to write; - (default) is standard output.")
@click.option("--yes", is_flag=True, help="Show secrets on a terminal; replace a file that exists.")
def export_command(
    config: Path | None, no_plugin: tuple[str, ...], provider: str, name: str | None, target: str, yes: bool
) -> None:
    """Write PROVIDER's credentials as environment variables, for a host without a disk. They are secrets in plain text.

    Only what is in the vault: variables and settings have theirs already.
    """
    accounts = open_accounts(config, no_plugin)
    found = accounts.provider(provider)
    chosen = [a.stored for a in accounts.matching(found.name, name) if a.source in ("file", "link") and a.stored]
    if not chosen:
        raise click.ClickException(f"the vault has nothing of {found.name} to export")
    pairs = _pairs(accounts, found, chosen)
    text = env_file(pairs)
    if target == "-":
        if sys.stdout.isatty() and not yes:
            raise click.UsageError("secrets would show on this terminal: --env FILE writes a file, --yes shows them")
        click.echo(text, nl=False)
    else:
        _write(Path(target), text, yes)
        click.echo(f"wrote {len(chosen)} of {found.name} to {target}; only you can read it", err=True)
    if any(stored.refresh_token for stored in chosen):
        click.echo(
            "warning: a refresh token that rotates must not be used in two places: who uses it second loses the"
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
            raise click.UsageError(f"the logins of {provider.name} have no form as variables")
        pairs += to_environment(refresher.environment, logins)
    return pairs


def _write(path: Path, text: str, replace_it: bool) -> None:
    if path.exists() and not replace_it:
        raise click.UsageError(f"{path} exists; --yes replaces it")
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise cannot(error) from error
