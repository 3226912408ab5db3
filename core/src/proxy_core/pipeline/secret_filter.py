"""Keeps secrets that were sent to an upstream from reaching the client in its response.

Debugging servers and gateways repeat a request's headers in their responses. A secret inside one
event or one plain response is masked. A secret spread over several events is not recognized: an
upstream that means to reveal a key can spell it in any way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from proxy_core.records.redact import MASK, spellings

#: Placeholders for a key, such as ``none`` or ``EMPTY``, are words that a response may contain.
_MIN_LENGTH = 16
_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|credential", re.IGNORECASE)
_MASK = MASK.encode()


def sent_secrets(headers: Iterable[tuple[str, str]], credential: str) -> tuple[bytes, ...]:
    """The credential, and the values of headers whose names indicate a secret."""
    values = [value.rpartition(" ")[2] for name, value in headers if _is_secret(name)]
    return tuple(s for value in {credential, *values} if len(value) >= _MIN_LENGTH for s in _spellings(value))


def spelled(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Every way to spell one of them; the longest first, so that none leaves a tail."""
    words = {word for secret in secrets for word in (secret, *secret.split())}  # ``Bearer KEY`` contains KEY
    found = {s for word in words if len(word) >= _MIN_LENGTH for s in _spellings(word)}
    return tuple(sorted(found, key=len, reverse=True))


@lru_cache(maxsize=256)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


@lru_cache(maxsize=4096)  # every credential of a large pool
def _spellings(secret: str) -> tuple[bytes, ...]:
    return tuple(spelling.encode() for spelling in spellings(secret))


def without_secrets(out: bytes, secrets: Sequence[bytes]) -> bytes:
    for secret in secrets:
        if secret in out:
            out = out.replace(secret, _MASK)
    return out
