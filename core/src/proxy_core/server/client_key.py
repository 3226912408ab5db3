"""Keys that the first start generates for clients, the operator and fingerprints: stored 0600, never printed."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from pydantic import SecretStr

from proxy_core.errors import SettingsError
from proxy_core.files import SAFE, private_folder
from proxy_core.settings.loading import LoadedSettings

log = logging.getLogger("proxy_core.keys")

FILE_NAME = "client.key"
ADMIN_FILE_NAME = "admin.key"
STATE_FILE_NAME = "state.key"


def client_keys(loaded: LoadedSettings) -> Mapping[str, SecretStr]:
    """The configured clients, or else the one generated key. Raises ``SettingsError`` if it cannot be stored."""
    configured = {name: client.key for name, client in loaded.settings.clients.items()}
    if configured:
        _check_distinct(configured)
        return configured
    return {"default": SecretStr(_generated(loaded.data_dir / FILE_NAME, "client key", "PROXY_API_KEY", needed=True))}


def admin_key(loaded: LoadedSettings) -> SecretStr:
    """The key of ``/admin``, configured or generated. Raises ``SettingsError``."""
    key = loaded.settings.admin.key or SecretStr(
        _generated(loaded.data_dir / ADMIN_FILE_NAME, "admin key", "PROXY_ADMIN__KEY")
    )
    if any(client.key == key for client in loaded.settings.clients.values()):
        raise SettingsError(["admin.key: this key is also a client's key"])
    return key


def state_secret(loaded: LoadedSettings) -> SecretStr:
    """The secret for fingerprints, configured or generated. Raises ``SettingsError`` as above."""
    return loaded.settings.state.secret or SecretStr(
        _generated(loaded.data_dir / STATE_FILE_NAME, "state secret", "PROXY_STATE__SECRET")
    )


def generated_key_file(loaded: LoadedSettings) -> Path | None:
    """The file of the generated client key, if it is in use."""
    return None if loaded.settings.clients else loaded.data_dir / FILE_NAME


def _check_distinct(configured: Mapping[str, SecretStr]) -> None:
    seen: dict[str, str] = {}
    for name, key in configured.items():
        other = seen.setdefault(key.get_secret_value(), name)
        if other != name:
            raise SettingsError([f"clients.{name}.key: the same key as clients.{other}.key"])


def _generated(file: Path, what: str, variable: str, *, needed: bool = False) -> str:
    """The key in ``file``, which the first start creates. Where nothing can be written, a key for this run only; one
    that another program needs to know is then an error."""
    try:
        return _read(file) or _created(file)
    except OSError as error:
        problem = f"no {what} is configured, and a generated one cannot be stored in {file}: {error.strerror}"
        advice = f"Set {variable}, or PROXY_DATA_DIR to a folder that can be written."
        if needed:
            raise SettingsError([f"{problem}. {advice}"]) from None
        return _for_this_run(file, f"{problem}; using one for this run only. {advice}")


@cache
def _for_this_run(file: Path, warning: str) -> str:
    """The same for the whole process, whichever part of it asks, also after a reload."""
    log.warning("%s", warning)
    return _new()


def _new() -> str:
    return f"pc-{secrets.token_urlsafe(32)}"


def _created(file: Path) -> str:
    private_folder(file.parent)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as out:
            out.write(_new() + "\n")
        # Unlike a rename, a link never replaces a file: of two concurrent first starts, both use the first key.
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        temporary.unlink()
    return _read(file) or _new()


def _read(file: Path) -> str | None:
    """The key in ``file``; ``None`` if there is no file. Raises ``SettingsError`` for one that others can read or
    have put there."""
    try:
        descriptor = os.open(file, os.O_RDONLY | SAFE)
    except FileNotFoundError:
        return None
    except OSError as error:
        if file.is_symlink():
            raise SettingsError([f"{file} is a link: delete it to generate a new key"]) from None
        raise error
    with open(descriptor, encoding="ascii", errors="replace") as opened:
        about = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
            raise SettingsError(
                [f"{file} belongs to another user, or others have access to it: delete it to generate a new key"]
            )
        key = opened.read().strip()
    if not key:
        raise SettingsError([f"{file} is empty: delete it to generate a new key"])
    return key
