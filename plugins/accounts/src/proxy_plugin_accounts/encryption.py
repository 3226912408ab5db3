"""``proxy-core credentials vault-key`` and ``encrypt``: the encryption of the vault at rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from proxy_core import SetupError
from proxy_core.cli.api import (
    KEYRING,
    Encryption,
    LoadedSettings,
    Vault,
    VaultProblem,
    private_folder,
    read_settings,
    read_small,
    settings_options,
    write_private,
)
from proxy_plugin_accounts.accounts import Accounts, check_keys, file_error, open_accounts

_ENDS = "a refresh was interrupted; start the proxy once, which ends it"
_PACKAGE = "it needs one more package: pip install 'proxy-core[vault]'"


@click.command("vault-key")
@settings_options
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--keyring", is_flag=True, help="Keep it in the operating system's keyring instead of a file.")
@click.option("--drop-old", is_flag=True, help="Make no key; encrypt with the newest, and forget the others.")
def vault_key_command(
    config: Path | None, disable_plugin: tuple[str, ...], file: Path | None, keyring: bool, drop_old: bool
) -> None:
    """Make a key that encrypts stored credentials, and put it before those that FILE already has."""
    if (file is None) != keyring:
        raise click.UsageError("name a file, or --keyring")
    try:
        old = _kept(file)
        if drop_old:
            _encrypt_with_newest(open_accounts(config, disable_plugin), old, file)
        _keep(file, old[:1] if drop_old else [_new_key(), *old])
        try:
            loaded = read_settings(config, disable_plugin)  # which may name the file that there was not
            _check_keys(loaded, old)
        except (click.ClickException, SetupError):
            _keep(file, old)
            raise
    except OSError as error:
        raise file_error(error) from error
    if drop_old:
        click.echo(
            f"all stored credentials are encrypted with the newest key, now the only one in {file or 'the keyring'}"
        )
        return
    folder = loaded.data_dir
    if file is not None and file.resolve().is_relative_to(folder.resolve()):
        click.echo(f"WARNING: {file} is in the data folder: a copy of {folder} contains the key, too", err=True)
    setting = "vault_keyring = true" if file is None else f'vault_keys_file = "{file.absolute()}"'
    click.echo(f"the key is in {file or 'the keyring'}: keep a copy elsewhere, for without it stored logins are lost")
    click.echo(f"in proxy-core.toml: [credentials] {setting}")
    click.echo(
        "then restart a running proxy, which does not have the new key yet, and run `proxy-core credentials encrypt`"
    )


@click.command("encrypt")
@settings_options
@click.option("--undo", is_flag=True, help="Decrypt them; the keys may leave the settings afterwards.")
def encrypt_command(config: Path | None, disable_plugin: tuple[str, ...], undo: bool) -> None:
    """Encrypt all stored credentials with the first key in the settings, whichever key they are encrypted with now."""
    accounts = open_accounts(config, disable_plugin)
    settings = accounts.loaded.settings.credentials
    if not (settings.vault_keys or settings.vault_keyring):
        raise click.ClickException("the settings have no key: see `proxy-core credentials vault-key --help`")
    if undo and _interrupted(accounts):  # its journal needs the key that may leave the settings next
        raise click.ClickException(f"nothing was changed: {_ENDS}")
    count = _encrypted(accounts, undo=undo)
    click.echo(f"{count} {'credential is' if count == 1 else 'credentials are'} {'decrypted' if undo else 'encrypted'}")


def _encrypted(accounts: Accounts, *, undo: bool = False) -> int:
    try:
        return accounts.vault.encrypt(undo=undo)
    except (OSError, VaultProblem) as error:
        raise file_error(error) from error


def _encrypt_with_newest(accounts: Accounts, keys: Sequence[str], file: Path | None) -> None:
    """Before the other keys are forgotten: nothing may be left that only they can decrypt."""
    if not keys:
        raise click.ClickException("there is no key")
    settings = accounts.loaded.settings.credentials
    in_use = _kept(None) if settings.vault_keyring else [key.get_secret_value() for key in settings.vault_keys]
    if in_use[:1] != keys[:1]:
        where = file or "the keyring"
        raise click.ClickException(f"no key is dropped: the settings do not encrypt with the newest key in {where}")
    if _interrupted(accounts):
        raise click.ClickException(f"no key is dropped: {_ENDS}")
    _encrypted(accounts)


def _interrupted(accounts: Accounts) -> bool:
    return any(accounts.vault.interrupted(provider) for provider in accounts.vault.providers())


def _check_keys(loaded: LoadedSettings, keys: Sequence[str]) -> None:
    """A new key would hide that another one is needed: what there is has to open with the keys that there are."""
    settings = loaded.settings.credentials
    kept = [*keys, *(_kept(None) if settings.vault_keyring else ())]
    encryption = Encryption([*map(SecretStr, kept), *settings.vault_keys])
    check_keys(Vault(loaded.vault_dir.absolute(), encryption=encryption))


def _new_key() -> str:
    try:
        from cryptography.fernet import Fernet
    except ImportError:
        raise click.ClickException(_PACKAGE) from None
    return Fernet.generate_key().decode("ascii")


def _kept(file: Path | None) -> Sequence[str]:
    if file is not None:
        lines = read_small(file).decode("ascii").splitlines() if file.exists() else []
        return [key for line in lines if (key := line.strip()) and not key.startswith("#")]
    keyring = _keyring()
    try:
        return (keyring.get_password(*KEYRING) or "").split()
    except keyring.errors.KeyringError as error:
        raise click.ClickException(f"the keyring cannot be used: {error}") from error


def _keep(file: Path | None, keys: Sequence[str]) -> None:
    if file is not None and not keys:
        file.unlink(missing_ok=True)
    elif file is not None:
        private_folder(file.absolute().parent)
        write_private(file, "".join(f"{key}\n" for key in keys).encode())
    else:
        _keyring().set_password(*KEYRING, " ".join(keys))


def _keyring() -> Any:
    try:
        import keyring.errors
    except ImportError:
        raise click.ClickException(_PACKAGE) from None
    return keyring
