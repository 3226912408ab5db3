"""The files in which Qwen Code and other proxies keep logins. Pure; qwen-code.md section 3."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from proxy_core import Credential, TokenFile, Tokens, json_object, token_expiry

if TYPE_CHECKING:
    from proxy_plugin_oauth import LockFile
from proxy_plugin_qwen_code.hosts import is_base

#: Fields of other proxies, which Qwen Code does not write.
_OTHERS = ("type", "_proxy_metadata", "expired", "last_refresh", "email")
#: Tokens without an expiry time count as expired.
_EXPIRED = datetime.fromtimestamp(0, UTC)


def read_file(data: bytes) -> Tokens:
    """``oauth_creds.json``: ``access_token``, ``refresh_token``, ``expiry_date`` in ms, ``resource_url``."""
    fields = json_object(data)
    _check_issuer(fields)
    if any(name in fields for name in _OTHERS):
        raise ValueError("it belongs to another proxy, and can only be copied")
    return _tokens(fields)


def _check_issuer(fields: dict[str, Any]) -> None:
    """Qwen's tokens have no shape of their own; those of Google, whose files have the same fields, do.

    Raises ``ValueError``: sent to Qwen, another vendor's refresh token would be given away.
    """
    access, refresh, scope = (str(fields.get(name) or "") for name in ("access_token", "refresh_token", "scope"))
    if fields.get("type") in ("authorized_user", "service_account") or fields.get("token") or fields.get("id_token"):
        raise ValueError("it is a Google login, not Qwen's")
    if access.startswith("ya29.") or refresh.startswith("1/") or "googleapis.com" in scope:
        raise ValueError("it is a Google login, not Qwen's")


def _tokens(fields: dict[str, Any]) -> Tokens:
    resource = fields.get("resource_url")
    if isinstance(resource, str) and resource.strip() and not is_base(resource):
        raise ValueError("resource_url is not the address of a server that is reached by https")
    return Tokens(
        access_token=SecretStr(_text(fields, "access_token")),
        refresh_token=SecretStr(_text(fields, "refresh_token")),
        expires_at=token_expiry(fields.get("expiry_date")) or _EXPIRED,
        details={"resource_url": resource} if isinstance(resource, str) and resource else {},
    )


def write_file(old: bytes, credential: Credential) -> bytes:
    """The file with new tokens; unknown keys are kept. Every field that Qwen Code requires is present.

    Raises ``ValueError`` if it has become another file.
    """
    fields = json_object(old) if old.strip() else {}
    _check_issuer(fields)
    fields["access_token"] = credential.secret.get_secret_value()
    if credential.refresh_token is not None:
        fields["refresh_token"] = credential.refresh_token.get_secret_value()
    fields.setdefault("token_type", "Bearer")
    # Qwen Code requires the field. A token of unknown lifetime is refreshed by whoever uses the file next.
    fields["expiry_date"] = int((credential.expires_at or _EXPIRED).timestamp() * 1000)
    if isinstance(resource := credential.details.get("resource_url"), str):
        fields["resource_url"] = resource
    return json.dumps(fields, indent=2).encode()


def read_proxy_file(data: bytes) -> Tokens:
    """CLIProxyAPI's ``qwen-<email>.json`` and Mirrowel's ``qwen_code_oauth_<n>.json``."""
    fields = json_object(data)
    _check_issuer(fields)
    if fields.get("type") not in (None, "qwen"):
        raise ValueError(f"it is of type {str(fields['type'])[:40]!r}")
    if "expired" in fields:
        fields["expiry_date"] = fields["expired"]
    found = _tokens(fields)
    about = fields.get("_proxy_metadata")
    email = fields.get("email") or (about.get("email") if isinstance(about, dict) else None)
    return Tokens(
        access_token=found.access_token,
        refresh_token=found.refresh_token,
        expires_at=found.expires_at,
        identity=email if isinstance(email, str) and email else None,
        details=found.details,
    )


def lock_of(path: Path) -> LockFile:
    """``~/.qwen/oauth_creds.lock``: exists while a program refreshes the tokens; stale after 35 s (2.2)."""
    from proxy_plugin_oauth import LockFile  # with its library, which a start does not need

    return LockFile(path.with_suffix(".lock"))


QWEN_FILE = TokenFile(
    name="qwen_code", read=read_file, write=write_file, paths=("~/.qwen/oauth_creds.json",), lock=lock_of
)
#: Copied, not shared, because those proxies use no lock.
PROXY_FILE = TokenFile(name="qwen_proxies", read=read_proxy_file)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is missing")
    return value.strip()
