"""Encryption of the vault's files, an option (``credentials.vault_keys``). All cryptography is that of Fernet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from proxy_core.credentials.json_file import json_object
from proxy_core.errors import SettingsError
from proxy_core.settings.schema import CredentialsSettings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: Where the operating system's keyring has the key.
KEYRING = ("proxy-core", "vault key")
_PACKAGE = "it needs one more package: pip install 'proxy-core[vault]'"
_FIELD = "encrypted"


class Locked(ValueError):
    """It is encrypted, and the key is missing or another one. It must not be replaced."""


class Encryption:
    """Encrypts and decrypts the content of the vault's files. Without keys, it encrypts nothing.

    The first key encrypts; the others still decrypt what was encrypted with them. Raises ``SettingsError`` for keys
    that are none.
    """

    def __init__(self, keys: Sequence[SecretStr] = ()) -> None:
        self._fernet = _fernet(keys) if keys else None

    def encrypted(self, data: bytes) -> bytes:
        """A JSON object on one line; without keys the data itself."""
        if self._fernet is None:
            return data
        return json.dumps({_FIELD: self._fernet.encrypt(data).decode("ascii")}).encode()

    def decrypted(self, data: bytes) -> bytes:
        """Data that was never encrypted is returned as it is. Raises :class:`Locked`."""
        token = _token(data)
        if token is None:
            return data
        if self._fernet is None:
            raise Locked("it is encrypted, and credentials.vault_keys has no key for it")
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise Locked("it is damaged, or encrypted with a key that credentials.vault_keys does not have") from None

    @property
    def has_keys(self) -> bool:
        return self._fernet is not None

    def covers(self, data: bytes) -> bool:
        """Whether data on disk is encrypted."""
        return _token(data) is not None


PLAIN = Encryption()


def encryption_of(settings: CredentialsSettings) -> Encryption:
    """What the settings say. Raises ``SettingsError``."""
    return Encryption([*(_from_keyring() if settings.vault_keyring else ()), *settings.vault_keys])


def _token(data: bytes) -> str | None:
    if _FIELD.encode() not in data:
        return None
    try:
        fields: dict[str, Any] = json_object(data)
    except ValueError:
        return None
    token = fields.get(_FIELD)
    return token if isinstance(token, str) and len(fields) == 1 else None


def _fernet(keys: Sequence[SecretStr]) -> MultiFernet:
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise SettingsError([f"credentials.vault_keys: {_PACKAGE}"]) from None
    found = []
    for number, key in enumerate(keys):
        try:
            found.append(Fernet(key.get_secret_value()))
        except ValueError:
            words = "not a key; make one with `proxy-core credentials vault-key FILE`"
            raise SettingsError([f"credentials.vault_keys[{number}]: {words}"]) from None
    return MultiFernet(found)


def _from_keyring() -> list[SecretStr]:
    """One key a line."""
    at = "credentials.vault_keyring"
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise SettingsError([f"{at}: {_PACKAGE}"]) from None
    try:
        keys = (keyring.get_password(*KEYRING) or "").split()
    except KeyringError as error:
        raise SettingsError([f"{at}: the keyring cannot be used: {error}"]) from None
    if not keys:
        raise SettingsError([f"{at}: the keyring has no key; `proxy-core credentials vault-key --keyring` makes one"])
    return [SecretStr(key) for key in keys]
