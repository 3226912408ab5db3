"""The secrets in settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr

from proxy_core.settings.base import PROXY_WORDS

_PLAIN = (str, int, float, bytes, type(None))


def secret_values(value: object) -> Iterator[str]:
    """All secrets in settings, at any depth."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, _PLAIN):  # as most are
            continue
        if isinstance(found, SecretStr):
            if (secret := found.get_secret_value()) not in PROXY_WORDS:
                yield secret
        elif isinstance(found, BaseModel):
            waiting += dict(found).values()
        elif isinstance(found, list | tuple | set | frozenset):
            waiting += found
        elif isinstance(found, Mapping):
            waiting += found.values()
