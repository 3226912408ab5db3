"""Fingerprints: names for secrets that are safe to show."""

from __future__ import annotations

import hashlib

from pydantic import SecretStr


class Fingerprints:
    """Ten hex digits that distinguish secrets without revealing them.

    They are keyed, so that guesses cannot be verified against a store or a log; with another key, all
    fingerprints differ.
    """

    def __init__(self, key: SecretStr) -> None:
        self._key = hashlib.blake2b(key.get_secret_value().encode(), digest_size=32).digest()

    def __call__(self, secret: str) -> str:
        return hashlib.blake2b(secret.encode(), digest_size=5, key=self._key, person=b"proxy-core").hexdigest()
