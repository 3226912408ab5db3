"""The secrets in settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, SecretStr

from proxy_core.settings.base import PROXY_WORDS


def secret_values(value: object) -> Iterator[str]:
    """All secrets in settings, at any depth."""
    if isinstance(value, SecretStr):
        if (secret := value.get_secret_value()) not in PROXY_WORDS:
            yield secret
    elif isinstance(value, BaseModel):
        yield from secret_values(dict(value))
    elif isinstance(value, Mapping):
        yield from secret_values(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from secret_values(inner)
