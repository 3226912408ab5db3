"""Names for secrets that can be shown."""

from __future__ import annotations

import hashlib

from pydantic import SecretStr

from proxy_core.interfaces import Credential
from proxy_core.rotation import DEFAULT_PRIORITY


def fingerprint(secret: str) -> str:
    """Eight hex digits that tell two keys apart and give neither away."""
    return hashlib.blake2b(secret.encode(), digest_size=4, person=b"proxy-core").hexdigest()


def api_key(
    provider: str, secret: SecretStr, label: str, *, tier: str | None = None, priority: int = DEFAULT_PRIORITY
) -> Credential:
    return Credential(
        id=fingerprint(secret.get_secret_value()),
        provider=provider,
        kind="api_key",
        secret=secret,
        label=label,
        tier=tier,
        priority=priority,
    )


def anonymous(provider: str) -> Credential:
    """The stand-in for a provider that asks for no credential."""
    return Credential(id="anonymous", provider=provider, kind="none", secret=SecretStr(""), label="none needed")
