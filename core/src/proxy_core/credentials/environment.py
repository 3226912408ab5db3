"""Credentials as variables, for hosts without a disk: ``<PREFIX>_<n>_ACCESS_TOKEN`` and so on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy_core.credentials.expiry import token_expiry
from proxy_core.credentials.given import check_tokens
from proxy_core.credentials.stored import StoredCredential

#: Names that every credential may have. Without a number, other variables with the prefix are settings.
_KNOWN = (
    "ACCESS_TOKEN REFRESH_TOKEN EXPIRY_DATE EMAIL TIER PRIORITY "
    "CLIENT_ID CLIENT_SECRET TOKEN_URI UNIVERSE_DOMAIN PROJECT_ID RESOURCE_URL"
).split()
_TOKENS = {"ACCESS_TOKEN", "REFRESH_TOKEN"}
_HERE = ("localhost", "127.0.0.1", "::1")
_HIDDEN = ("SECRET", "TOKEN", "KEY", "PASSWORD")


def from_environment(prefix: str, variables: Mapping[str, str], *, provider: str, kind: str) -> list[StoredCredential]:
    """One credential per number that has an access or refresh token; without any, the form without a number, as 0.

    ``EXPIRY_DATE`` is in seconds, milliseconds or ISO 8601, ``EMAIL`` is the identity; any other
    name becomes one of ``details``, a secret if its ending says so.
    """
    found = [_stored(prefix, number, fields, provider, kind) for number, fields in _chosen(prefix, variables).items()]
    return [stored for stored in found if not _unusable(stored)]


def variable_problems(prefix: str, variables: Mapping[str, str], details: Sequence[str]) -> Iterator[str]:
    """What is wrong with such variables, one line each, for the operator.

    ``details`` are the names that the provider's plugin knows, besides those of every credential.
    """
    known = {*_KNOWN, *(name.upper() for name in details)}
    for number, fields in _chosen(prefix, variables).items():
        numbered = number or any(name.startswith(f"{prefix}_0") for name in variables)
        start = f"{prefix}_{number}_" if numbered else f"{prefix}_"
        if problem := _unusable(_stored(prefix, number, dict(fields), "", "")):
            yield f"the login in {start}* is not used: {problem}"
        if "EXPIRY_DATE" in fields and fields["EXPIRY_DATE"] != "0" and token_expiry(fields["EXPIRY_DATE"]) is None:
            how = "seconds or milliseconds since 1970, or ISO 8601"
            yield f"{start}EXPIRY_DATE is no time ({how}): the token is refreshed before its first use"
        if "TOKEN_URI" in fields and not is_server(fields["TOKEN_URI"]):
            yield f"{start}TOKEN_URI is not the https address of a server: the login cannot be refreshed"
        if not fields.get("PRIORITY", "0").isdecimal():
            yield f"{start}PRIORITY is not a whole number: it is not used"
        for name in sorted(fields.keys() - known):
            meant = get_close_matches(name, known, n=1)
            yield f"{start}{name} is not known" + (f": is {start}{meant[0]} meant?" if meant else "")
    for number, fields in _groups(prefix, variables).items():
        if number >= 0 and not _TOKENS & fields.keys():
            names = ", ".join(f"{prefix}_{number}_{name}" for name in sorted(fields))
            yield f"{names}: there is neither {prefix}_{number}_ACCESS_TOKEN nor {prefix}_{number}_REFRESH_TOKEN"


def is_server(url: str) -> bool:
    """Whether a token may be sent there: by https, or on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return bool(host) and url.isprintable() and (parts.scheme == "https" or (parts.scheme == "http" and host in _HERE))


def _chosen(prefix: str, variables: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """The fields of each credential, by its number."""
    groups = _groups(prefix, variables)
    found = {n: fields for n, fields in sorted(groups.items()) if _TOKENS & fields.keys()}
    alone = found.pop(-1, None)
    return found if found or alone is None else {0: alone}


def _groups(prefix: str, variables: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """The fields by number; -1 stands for those without."""
    groups: dict[int, dict[str, str]] = {}
    pattern = re.compile(rf"{re.escape(prefix)}_(?:(\d{{1,4}})_)?([A-Z][A-Z0-9_]*)")
    for name, value in variables.items():
        match = pattern.fullmatch(name)
        if match and value.strip() and (match[1] or match[2] in _KNOWN):
            groups.setdefault(int(match[1]) if match[1] else -1, {})[match[2]] = value.strip()
    return groups


def _unusable(stored: StoredCredential) -> str:
    try:
        check_tokens(stored.access_token, stored.refresh_token)
    except ValueError as error:
        return str(error)
    return ""


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
