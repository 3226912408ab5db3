"""The places where other programs keep logins and keys: their files, and the system's keychain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG

import click
from msgspec import Struct

from proxy_core import FoundKey, KeyFile, Provider, TokenFile, Tokens, TokenStore
from proxy_core.cli.api import VaultProblem, check_tokens, other_variables, printable, read_foreign, read_small
from proxy_plugin_accounts.accounts import Accounts

AnyFile = TokenFile | KeyFile


class Origin(Struct, frozen=True, kw_only=True):
    """A login or keys that were found, and where. ``path`` is set for a file, ``form`` for a file with a login."""

    where: str
    tokens: Tokens | None = None
    keys: Sequence[FoundKey] = ()
    path: Path | None = None
    form: TokenFile | None = None

    @property
    def shared(self) -> bool:
        """Whether the other program and the proxy can share the file."""
        return self.form is not None and self.form.write is not None


def find(accounts: Accounts, provider: Provider, file: Path | None, wanted: str | None) -> Origin:
    """Read ``file``, or else the usual places: files before keychains, logins before keys. What a file is, its content
    says, wherever it is.

    Raises ``UsageError``, and ``ClickException`` listing the places that were searched.
    """
    files, stores = _known(accounts, provider, wanted)
    if file is not None:
        if not files:
            raise click.UsageError(f"{wanted} is not a file format")
        if problem := _no_file(file):
            raise click.UsageError(f"{file} {problem}")
        return _readable(accounts, [(file, files)])
    there = usual_files(files)
    if not there:
        return _in_stores(stores, [place for form in files for place in _places(form)])
    origin = _readable(accounts, [(path, [form, *(f for f in files if f is not form)]) for path, form in there])
    for path, form in there:
        if origin.tokens is not None and isinstance(form, KeyFile):
            click.echo(
                f"{path} may contain keys; to import them: proxy-core credentials import {provider.name} {path}",
                err=True,
            )
    return origin


def _no_file(path: Path) -> str:
    """Why there is nothing to read; empty if there is."""
    try:
        return "" if S_ISREG(path.stat().st_mode) else "is not a regular file"
    except FileNotFoundError:
        return "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def usual_files(forms: Sequence[AnyFile]) -> list[tuple[Path, AnyFile]]:
    """The usual files of these formats that exist."""
    usual = [(Path(place), form) for form in forms for place in _places(form)]
    return [(path, form) for path, form in usual if os.path.isfile(path)]


def _known(
    accounts: Accounts, provider: Provider, wanted: str | None
) -> tuple[Sequence[AnyFile], Sequence[TokenStore]]:
    refresher = accounts.refresher(provider)
    files: list[AnyFile] = [*(refresher.files if refresher else ()), *provider.key_files]
    stores = list(refresher.stores) if refresher else []
    if not files and not stores:
        raise click.UsageError(f"{provider.name} has no known files of other programs to import from")
    chosen = [form for form in files if wanted in (None, form.name)]
    chosen_stores = [store for store in stores if wanted in (None, store.name)]
    if not chosen and not chosen_stores:
        names = ", ".join([*(form.name for form in files), *(store.name for store in stores)])
        raise click.UsageError(f"--format {wanted!r} is not one of {names}")
    return chosen, chosen_stores


def _places(form: AnyFile) -> list[str]:
    """The usual paths of a format, without those that begin with a variable that is not set."""
    places = (os.path.expanduser(os.path.expandvars(path)) for path in form.paths)
    return [place for place in places if not place.startswith("$")]


def _in_stores(stores: Sequence[TokenStore], searched: Sequence[str]) -> Origin:
    problems = [f"searched {', '.join(searched)}"] if searched else []
    for store in stores:
        try:
            tokens = store.read()
            check_tokens(tokens.access_token, tokens.refresh_token)
            return Origin(where=store.name, tokens=tokens)
        except ValueError as error:
            problems.append(f"{store.name}: {printable(str(error))}")
        except Exception as error:  # a plugin's reader and the system service behind it may fail in any way
            problems.append(f"{store.name}: cannot be read ({type(error).__name__})")
    nowhere = "no usual path is known; give the file"
    raise click.ClickException(f"nothing to import; {'; '.join(problems) or nowhere}")


def _readable(accounts: Accounts, candidates: Sequence[tuple[Path, Sequence[AnyFile]]]) -> Origin:
    """The first file that one of its formats can read. Raises ``ClickException`` that says what each file is not."""
    problems = []
    for path, forms in candidates:
        whys: dict[str, list[str]] = {}
        for form in forms:
            try:
                return _read(accounts, path, form)
            except VaultProblem as problem:
                reason = printable(problem.why).removeprefix(f"is not a file of {form.name!r}: ")
                whys.setdefault(reason, []).append(repr(form.name))
        found = (f"is not a file of {', '.join(names)}: {reason}" for reason, names in whys.items())
        problems.append(f"{path} {'; '.join(found)}")
    raise click.ClickException("; ".join(problems))


def _read(accounts: Accounts, path: Path, form: AnyFile) -> Origin:
    """Raises ``VaultProblem``."""
    if isinstance(form, KeyFile):
        return Origin(where=str(path), keys=_read_keys(accounts, path, form), path=path)
    tokens = read_foreign(path, form)
    if tokens.refresh_token is None and not tokens.access_token.get_secret_value():
        raise VaultProblem(path, "contains no token; log in with that program first")
    return Origin(where=str(path), tokens=tokens, path=path, form=form)


def _read_keys(accounts: Accounts, path: Path, form: KeyFile) -> Sequence[FoundKey]:
    """Raises ``VaultProblem``."""
    try:
        return form.read(read_small(path), other_variables(accounts.loaded.sources.variables, form.dotenvs))
    except OSError as error:
        raise VaultProblem(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise VaultProblem(path, str(error)) from error
    except Exception as error:  # a plugin's reader, given a file it did not expect
        raise VaultProblem(path, f"its reader failed ({type(error).__name__})") from error
