"""Keys that the first start generates for clients, the operator and fingerprints: stored 0600, never printed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from proxy_core.errors import SettingsError
from proxy_core.settings.loading import LoadedSettings

FILE_NAME = "client.key"
ADMIN_FILE_NAME = "admin.key"
STATE_FILE_NAME = "state.key"


def client_keys(loaded: LoadedSettings) -> Mapping[str, SecretStr]:
    """The configured clients, or else the one generated key. Raises ``SettingsError`` if it cannot be stored."""
    configured = {name: client.key for name, client in loaded.settings.clients.items()}
    if configured:
        _check_distinct(configured)
        return configured
    return {"default": SecretStr(_generated(loaded.data_dir / FILE_NAME, "client key", "PROXY_API_KEY"))}


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


def _generated(file: Path, what: str, variable: str) -> str:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = f"pc-{secrets.token_urlsafe(32)}"
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as out:
            out.write(key + "\n")
        try:
            # Unlike a rename, a link never replaces a file: of two concurrent first starts, both use the first key.
            os.link(temporary, file)
        except FileExistsError:
            key = file.read_text("ascii").strip()
        finally:
            temporary.unlink()
    except OSError as error:
        raise SettingsError(
            [
                f"no {what} is configured, and a generated one cannot be stored in {file}: {error.strerror}. "
                f"Set {variable}, or PROXY_DATA_DIR to a folder that can be written."
            ]
        ) from None
    if not key:
        raise SettingsError([f"{file} is empty: delete it to generate a new key"])
    return key
