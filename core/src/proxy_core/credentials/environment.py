"""Credentials as variables, for hosts without a disk: ``<PREFIX>_<n>_ACCESS_TOKEN`` and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import SecretStr

from proxy_core.credentials.expiry import token_expiry
from proxy_core.credentials.stored import StoredCredential

#: Without a number, only these belong to a credential; other variables with the prefix are settings.
_UNNUMBERED = (
    "ACCESS_TOKEN REFRESH_TOKEN EXPIRY_DATE EMAIL TIER PRIORITY "
    "CLIENT_ID CLIENT_SECRET TOKEN_URI UNIVERSE_DOMAIN PROJECT_ID RESOURCE_URL"
).split()
_HIDDEN = ("SECRET", "TOKEN", "KEY", "PASSWORD")


def from_environment(prefix: str, variables: Mapping[str, str], *, provider: str, kind: str) -> list[StoredCredential]:
    """One credential per number that has an access or refresh token; without any, the form without a number, as 0.

    ``EXPIRY_DATE`` is in seconds, milliseconds or ISO 8601, ``EMAIL`` is the identity; any other
    name becomes one of ``details``, a secret if its ending says so.
    """
    groups: dict[int, dict[str, str]] = {}
    pattern = re.compile(rf"{re.escape(prefix)}_(?:(\d{{1,4}})_)?([A-Z][A-Z0-9_]*)")
    for name, value in variables.items():
        match = pattern.fullmatch(name)
        if match and value.strip() and (match[1] or match[2] in _UNNUMBERED):
            groups.setdefault(int(match[1]) if match[1] else -1, {})[match[2]] = value.strip()
    found = {n: fields for n, fields in sorted(groups.items()) if {"ACCESS_TOKEN", "REFRESH_TOKEN"} & fields.keys()}
    alone = found.pop(-1, None)
    if not found and alone is not None:
        found = {0: alone}
    return [_stored(prefix, number, fields, provider, kind) for number, fields in found.items()]


def _stored(prefix: str, number: int, fields: dict[str, str], provider: str, kind: str) -> StoredCredential:
    access, refresh = fields.pop("ACCESS_TOKEN", ""), fields.pop("REFRESH_TOKEN", None)
    ends, priority = fields.pop("EXPIRY_DATE", None), fields.pop("PRIORITY", "")
    identity, tier = fields.pop("EMAIL", None), fields.pop("TIER", None)
    expires_at = token_expiry(ends)
    if refresh and expires_at is None:
        access = ""  # it may have expired long ago, so it is refreshed before use
    return StoredCredential(
        provider=provider,
        name=f"env-{number}",
        kind=kind,
        access_token=SecretStr(access),
        refresh_token=SecretStr(refresh) if refresh else None,
        expires_at=expires_at,
        identity=identity,
        anchor=identity or f"env-{number}",
        tier=tier,
        priority=int(priority) if priority.isdecimal() else None,
        details={k.lower(): SecretStr(v) if k.endswith(_HIDDEN) else v for k, v in sorted(fields.items())},
        origin=f"{prefix}_{number}_*" if number else f"{prefix}_*",
    )
