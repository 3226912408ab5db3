"""A stored credential, and its JSON format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct, field
from msgspec.structs import replace
from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, ValidationError

from proxy_core.credentials.given import check_tokens
from proxy_core.credentials.json_file import json_object
from proxy_core.interfaces import Credential, Tokens
from proxy_core.settings.base import Table
from proxy_core.settings.rotation import DEFAULT_PRIORITY

Stamp = tuple[tuple[int, int, int] | None, ...]


class VaultProblem(Exception):
    """A credential's file cannot be used; the message says why. The file is not changed."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class LockedFile(VaultProblem):
    """It is encrypted with a key that is not there."""


class Link(Struct, frozen=True, kw_only=True):
    """The tokens are in another program's file; ``format`` names the ``TokenFile`` that reads it."""

    path: Path
    format: str


class NeedsLogin(Struct, frozen=True, kw_only=True):
    """A refresh cannot help until the refresh token differs from the rejected one, whose digest is ``token``."""

    why: str
    since: datetime
    token: str


class StoredCredential(Struct, frozen=True, kw_only=True):
    """One credential of the vault. ``path`` is its file, or ``None`` if it is only in memory.

    ``anchor`` is what its id is derived from, for life: the identity that was known when it was stored, or else its
    name. ``problem`` says why its linked file cannot be read (without its path, as clients
    may see it); the tokens are then the last that could be, if any.
    ``seed`` is the digest of the refresh token in the variable, for credentials from the
    environment. ``stamp`` identifies the version of its files that was read.
    """

    provider: str
    name: str
    kind: str
    path: Path | None = None
    access_token: SecretStr = SecretStr("")
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    anchor: str | None = None
    tier: str | None = None
    priority: int | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)
    disabled: bool = False
    link: Link | None = None
    problem: str = ""
    needs_login: NeedsLogin | None = None
    origin: str = ""
    added_at: datetime | None = None
    seed: str | None = None
    stamp: Stamp = ()

    @property
    def full_name(self) -> str:
        """For logs."""
        return f"{self.provider} {self.name}"

    @property
    def secrets(self) -> list[str]:
        """Everything in it that no line may show."""
        hidden = [self.access_token, self.refresh_token, *self.details.values()]
        return [value.get_secret_value() for value in hidden if value is not None and not isinstance(value, str)]

    @property
    def account(self) -> str:
        """The part that never changes, for fingerprints and usage: neither with the tokens nor with what is learned."""
        return f"{self.provider}:{self.anchor or self.identity or self.name}"

    @property
    def is_in_vault(self) -> bool:
        """Whether users know it by its name: it is from no variable, whose name they know instead."""
        return self.path is not None and self.path.parent.name != "environment"

    def credential(self, fingerprint: Callable[[str], str]) -> Credential:
        """The credential for the pool. Its id is derived from ``anchor``, so no refresh changes it.

        The id of an API key is derived from the key, so it is the same wherever the key is set.
        """
        return Credential(
            id=fingerprint(self.access_token.get_secret_value() if self.kind == "api_key" else self.account),
            provider=self.provider,
            kind=self.kind,
            secret=self.access_token,
            label=self.name if self.is_in_vault else self.origin or self.name,
            tier=self.tier,
            priority=DEFAULT_PRIORITY if self.priority is None else self.priority,
            refresh_token=self.refresh_token,
            expires_at=self.expires_at,
            identity=self.identity,
            details=self.details,
        )

    def with_tokens(self, tokens: Tokens) -> StoredCredential:
        """A copy with new tokens. Fields that they lack are kept, except the expiry of the old access token."""
        return replace(
            self,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or self.refresh_token,
            expires_at=tokens.expires_at,
            identity=tokens.identity or self.identity,
            tier=tokens.tier or self.tier,
            details={**self.details, **tokens.details},
            needs_login=None,
        )

    def of_another_account(self, tokens: Tokens) -> bool:
        """Whether these are the tokens of an account other than the known one."""
        return bool(self.identity and tokens.identity and self.identity != tokens.identity)

    def due(self, now: datetime, refresh_margin_s: float) -> bool:
        """Whether a refresh is due: there is no access token, or it expires soon."""
        if not self.access_token.get_secret_value():
            return True
        return self.expires_at is not None and self.expires_at - now <= timedelta(seconds=refresh_margin_s)


def digest(secret: SecretStr | None) -> str:
    """Identifies a token without revealing it. Tokens are long and random, so an unkeyed hash is enough."""
    if secret is None:
        return ""
    return hashlib.blake2b(secret.get_secret_value().encode(), digest_size=16, person=b"proxy-core").hexdigest()


# --- JSON --------------------------------------------------------------------------------


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


Text = Annotated[str, Field(max_length=100_000)]
Secret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, when_used="json")]
Moment = Annotated[datetime, AfterValidator(_utc)]


class _LinkRecord(Table):
    path: str
    format: str


class _NeedsLoginRecord(Table):
    why: str
    since: Moment
    token: str = ""


class _Record(Table):
    version: Literal[1]
    kind: Text
    access_token: Secret = SecretStr("")
    refresh_token: Secret | None = None
    expires_at: Moment | None = None
    identity: str | None = None
    anchor: str | None = None
    tier: str | None = None
    priority: int | None = None
    details: dict[str, str] = Field(default_factory=dict)
    secret_details: dict[str, Secret] = Field(default_factory=dict)
    disabled: bool = False
    link: _LinkRecord | None = None
    needs_login: _NeedsLoginRecord | None = None
    origin: str = ""
    added_at: Moment | None = None
    seed: str | None = None


#: What a record and a credential call by the same name, and what the file of a linked credential lacks.
_SAME = ("kind", "identity", "tier", "priority", "disabled", "origin", "added_at", "seed")
_TOKENS = ("access_token", "refresh_token", "expires_at")


def to_json(stored: StoredCredential) -> bytes:
    """The content of its file. The file of a linked credential contains no tokens."""
    link, needs, details = stored.link, stored.needs_login, sorted(stored.details.items())
    record = _Record(
        version=1,
        **{name: getattr(stored, name) for name in (*_SAME, *(_TOKENS if link is None else ()))},
        anchor=stored.anchor if stored.anchor != (stored.identity or stored.name) else None,
        details={name: value for name, value in details if isinstance(value, str)},
        secret_details={name: value for name, value in details if isinstance(value, SecretStr)},
        link=_LinkRecord(path=str(link.path), format=link.format) if link else None,
        needs_login=_NeedsLoginRecord(why=needs.why, since=needs.since, token=needs.token) if needs else None,
    )
    kept = record.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(kept, indent=1, ensure_ascii=False).encode() + b"\n"


def from_json(data: bytes, provider: str, name: str, path: Path) -> StoredCredential:
    """Raises ``ValueError`` that says what is wrong with the file, without quoting its content."""
    fields = json_object(data)
    if isinstance(fields.get("version"), int) and fields["version"] > 1:
        raise ValueError(f"it has version {fields['version']}, which is newer than this proxy supports")
    try:
        record = _Record.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where or 'it'}: {first['msg']}") from None
    link, needs = record.link, record.needs_login
    stored = StoredCredential(
        provider=provider,
        name=name,
        path=path,
        **{field: getattr(record, field) for field in (*_SAME, *_TOKENS)},
        anchor=record.anchor or record.identity or name,
        details={**record.details, **record.secret_details},
        link=Link(path=Path(link.path), format=link.format) if link else None,
        needs_login=NeedsLogin(why=needs.why, since=needs.since, token=needs.token) if needs else None,
    )
    check_tokens(record.access_token, record.refresh_token)
    if stored.link is None and not record.access_token.get_secret_value() and record.refresh_token is None:
        raise ValueError("it has neither access_token nor refresh_token nor link")
    return stored
