"""Fingerprints: names for secrets that are safe to show."""

from __future__ import annotations

import hashlib

from pydantic import SecretStr

from proxy_core.interfaces import Credential
from proxy_core.settings.rotation import DEFAULT_PRIORITY


class Fingerprints:
    """Ten hex digits that distinguish secrets without revealing them.

    They are keyed, so that guesses cannot be verified against a store or a log; with another key, all
    fingerprints differ.
    """

    def __init__(self, key: SecretStr) -> None:
        self._key = hashlib.blake2b(key.get_secret_value().encode(), digest_size=32).digest()

    def __call__(self, secret: str) -> str:
        return hashlib.blake2b(secret.encode(), digest_size=5, key=self._key, person=b"proxy-core").hexdigest()


def api_key(
    fingerprint: str,
    provider: str,
    secret: SecretStr,
    label: str,
    *,
    tier: str | None = None,
    priority: int = DEFAULT_PRIORITY,
) -> Credential:
    return Credential(
        id=fingerprint, provider=provider, kind="api_key", secret=secret, label=label, tier=tier, priority=priority
    )


def anonymous(provider: str) -> Credential:
    """The placeholder for a provider that requires no credential."""
    return Credential(id="anonymous", provider=provider, kind="none", secret=SecretStr(""), label="none needed")
