"""The places where Google's tools and other proxies keep Google logins. What a file is, its content says."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from pydantic import SecretStr

from proxy_core import Credential, TokenFile, Tokens, TokenStore, json_object, token_expiry
from proxy_plugin_oauth import id_token_label

_SERVICE, _ACCOUNT = "gemini-cli-oauth", "main-account"
_OTHER_KINDS = (
    "service_account",
    "external_account",
    "impersonated_service_account",
    "external_account_authorized_user",
)
_ABOUT = "_proxy_metadata"
_NEEDS_CRYPTOGRAPHY = "it is encrypted; reading it needs: pip install 'proxy-plugin-gemini-cli[encrypted]'"


def read_plain(data: bytes) -> Tokens:
    """The Gemini CLI's ``oauth_creds.json``, which both programs may share.

    Raises ``ValueError`` that says what it is instead, or names what is missing, but never a token.
    """
    fields = json_object(data)
    kind = fields.get("type")
    if kind == "authorized_user":
        raise ValueError("it is gcloud's ('authorized_user'), which can only be copied")
    if kind in _OTHER_KINDS:
        raise ValueError(
            f"it is of type {kind!r}, which obtains tokens in another way; only logins of people can be used"
        )
    if _ABOUT in fields:
        raise ValueError("it belongs to another proxy, and can only be copied")
    if "token" in fields:
        raise ValueError("it is an entry of the Gemini CLI's own store, which can only be copied")
    return _login(fields)


def read_entry(data: bytes) -> Tokens:
    """An entry of the store that the Gemini CLI keeps in a keychain or encrypted: ``{"token": {"accessToken": ...}}``.

    An older entry has the fields of the plain file.
    """
    return _login(json_object(data))


def read_proxy_file(data: bytes) -> Tokens:
    """Mirrowel's ``gemini_cli_oauth_<n>.json``: the Gemini CLI's fields, and ``_proxy_metadata`` about the account."""
    fields = json_object(data)
    about = fields.get(_ABOUT)
    if not isinstance(about, dict):
        raise ValueError(f"{_ABOUT} is missing")
    found = _login(fields)
    project = _text(about, "project_id")
    return replace(
        found,
        identity=_text(about, "email") or found.identity,
        tier=_text(about, "tier"),
        details={**found.details, **({"project_id": project} if project else {})},
    )


def _read_entry_file(data: bytes) -> Tokens:
    """An entry that somebody has saved as a file."""
    if not isinstance(json_object(data).get("token"), dict):
        raise ValueError("token is missing")
    return read_entry(data)


def _login(fields: Mapping[str, Any]) -> Tokens:
    nested = fields.get("token")
    if isinstance(nested, dict):
        access, refresh = _text(nested, "accessToken"), _text(nested, "refreshToken")
        expiry, missing = nested.get("expiresAt"), "token.accessToken and token.refreshToken are missing"
    else:
        access, refresh = _text(fields, "access_token"), _text(fields, "refresh_token")
        expiry, missing = fields.get("expiry_date"), "access_token and refresh_token are missing"
    if not access and not refresh:
        raise ValueError(missing)
    _check_issuer(access, refresh, {**fields, **(nested if isinstance(nested, dict) else {})})
    details: dict[str, str | SecretStr] = {}
    for name in ("client_id", "token_uri", "project_id", "quota_project_id"):
        if value := _text(fields, name):
            details[name] = value
    if secret := _text(fields, "client_secret"):
        details["client_secret"] = SecretStr(secret)
    identity = id_token_label(fields.get("id_token")) or _text(fields, "email")
    return _tokens(access, refresh, token_expiry(expiry), identity, details)


def _check_issuer(access: str | None, refresh: str | None, fields: Mapping[str, Any]) -> None:
    """Whether Google issued these tokens. Another vendor's would be sent to Google, and might be lost by that.

    Raises ``ValueError``. The shapes of Google's tokens are not documented, but have been the same for years; without
    them, the scope or the client has to be Google's.
    """
    if _text(fields, "resource_url") or fields.get("type") == "qwen":
        raise ValueError("it is a Qwen login, not Google's")
    scope, client = _text(fields, "scope") or "", _text(fields, "client_id") or ""
    googles = (access or "").startswith("ya29.") or (refresh or "").startswith("1/")
    if not googles and "googleapis.com/auth/" not in scope and "googleusercontent" not in client:
        raise ValueError("nothing in it says that Google issued its tokens (they begin with ya29. and 1//)")


def write_plain(old: bytes, credential: Credential) -> bytes:
    """The same file with new tokens. Unknown keys are kept. Raises ``ValueError`` if it has become another file."""
    fields = json_object(old) if old.strip() else {}
    if fields.keys() & {"access_token", "refresh_token", "token", "type", "resource_url", _ABOUT}:
        read_plain(old)
    fields["access_token"] = credential.secret.get_secret_value()
    fields.setdefault("token_type", "Bearer")
    if credential.refresh_token is not None:
        fields["refresh_token"] = credential.refresh_token.get_secret_value()
    fields.pop("expiry_date", None)  # that of the old token
    if credential.expires_at is not None:
        fields["expiry_date"] = int(credential.expires_at.timestamp() * 1000)
    return json.dumps(fields, indent=2, ensure_ascii=False).encode()


def read_gcloud(data: bytes) -> Tokens:
    """``application_default_credentials.json``. It holds no access token; a refresh uses the client that it names."""
    fields = json_object(data)
    if fields.get("type") != "authorized_user":
        raise ValueError(f"it is of type {fields.get('type')!r}, not 'authorized_user'")
    return _authorized_user(fields)


def _authorized_user(fields: Mapping[str, Any]) -> Tokens:
    missing = [name for name in ("client_id", "client_secret", "refresh_token") if not _text(fields, name)]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    details: dict[str, str | SecretStr] = {
        "client_id": fields["client_id"],
        "client_secret": SecretStr(fields["client_secret"]),
    }
    for name in ("quota_project_id", "token_uri", "universe_domain"):
        if value := _text(fields, name):
            details[name] = value
    return Tokens(
        access_token=SecretStr(""),
        refresh_token=SecretStr(fields["refresh_token"]),
        identity=_text(fields, "account"),
        details=details,
    )


def _tokens(
    access: str | None,
    refresh: str | None,
    ends: datetime | None,
    identity: str | None,
    details: Mapping[str, str | SecretStr],
) -> Tokens:
    """An access token without an expiry time is refreshed before use, if possible."""
    if refresh and ends is None:
        access = None
    return Tokens(
        access_token=SecretStr(access or ""),
        refresh_token=SecretStr(refresh) if refresh else None,
        expires_at=ends if access else None,
        identity=identity,
        details=details,
    )


def read_encrypted(data: bytes) -> Tokens:
    """``gemini-credentials.json``, which is not JSON: ``iv:tag:ciphertext`` in hex, AES-256-GCM.

    The key is derived from the names of host and user, so a copy from another machine cannot be read.
    """
    parts = data.strip().split(b":")
    try:
        iv, tag, sealed = (bytes.fromhex(part.decode("ascii")) for part in parts)
    except ValueError:
        raise ValueError("it is not encrypted as the Gemini CLI does it") from None
    if len(iv) not in (12, 16) or len(tag) != 16:
        raise ValueError("its iv or tag has the wrong length")
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ValueError(_NEEDS_CRYPTOGRAPHY) from None
    try:
        plain = AESGCM(_file_key()).decrypt(iv, sealed + tag, None)
    except InvalidTag:
        raise ValueError("it was written on another host or by another user, or is damaged") from None
    kept = json_object(plain).get(_SERVICE)
    entry = kept.get(_ACCOUNT) if isinstance(kept, dict) else None
    if not isinstance(entry, str):
        raise ValueError(f"{_SERVICE}.{_ACCOUNT} is missing")
    return read_entry(entry.encode())


def _file_key() -> bytes:
    salt = f"{socket.gethostname()}-{getpass.getuser()}-gemini-cli".encode()
    return hashlib.scrypt(_SERVICE.encode(), salt=salt, n=16_384, r=8, p=1, dklen=32, maxmem=64 * 1024 * 1024)


def read_keychain() -> Tokens:
    """Read the system keychain's entry. Raises ``ValueError`` if there is no keychain or no entry.

    Source: gemini-cli ``code_assist/oauth-credential-storage.ts``: service ``gemini-cli-oauth``, account
    ``main-account``, the same JSON as in its encrypted file.
    """
    try:
        import keyring  # type: ignore[import-not-found,unused-ignore]  # an extra
        from keyring.errors import KeyringError, NoKeyringError  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ValueError("reading it needs: pip install 'proxy-plugin-gemini-cli[keychain]'") from None
    try:
        entry = keyring.get_password(_SERVICE, _ACCOUNT)
    except NoKeyringError:
        raise ValueError("this system has no usable keychain") from None
    except KeyringError as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    if not entry:
        raise ValueError(f"it has no entry {_SERVICE!r} for {_ACCOUNT!r}")
    tokens = read_entry(entry.encode())
    return replace(tokens, identity=tokens.identity or _signed_in())


def _signed_in() -> str | None:
    """The account of the login in the keychain, which the Gemini CLI records in its folder."""
    home = os.path.expandvars("$GEMINI_CLI_HOME")
    return active_account(Path("~" if home.startswith("$") else home).expanduser() / ".gemini" / "x")


def active_account(path: Path) -> str | None:
    """The active account in the ``google_accounts.json`` next to ``path``; an unreadable file counts as empty."""
    try:
        active = json_object(path.with_name("google_accounts.json").read_bytes()).get("active")
    except (OSError, ValueError):
        return None
    return active if isinstance(active, str) and active else None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) and value.strip() else None


FILES = (
    TokenFile(
        name="gemini_cli",
        read=read_plain,
        write=write_plain,
        paths=("$GEMINI_CLI_HOME/.gemini/oauth_creds.json", "~/.gemini/oauth_creds.json"),
        owner=active_account,
    ),
    TokenFile(
        name="gemini_cli_encrypted",
        read=read_encrypted,
        paths=("$GEMINI_CLI_HOME/.gemini/gemini-credentials.json", "~/.gemini/gemini-credentials.json"),
        owner=active_account,
    ),
    TokenFile(name="gemini_cli_entry", read=_read_entry_file),
    TokenFile(name="gemini_proxies", read=read_proxy_file),
    TokenFile(
        name="gcloud",
        read=read_gcloud,
        paths=(
            "$CLOUDSDK_CONFIG/application_default_credentials.json",
            "~/.config/gcloud/application_default_credentials.json",
            "$APPDATA/gcloud/application_default_credentials.json",
        ),
    ),
)
STORES = (TokenStore(name="keychain", read=read_keychain),)
