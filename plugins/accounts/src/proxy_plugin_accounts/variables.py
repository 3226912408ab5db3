"""Credentials as variables, in the form that the core reads: ``<PREFIX>_<n>_ACCESS_TOKEN`` and so on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import SecretStr

from proxy_core.cli.api import StoredCredential


def to_environment(prefix: str, credentials: Iterable[StoredCredential]) -> Sequence[tuple[str, str]]:
    """Variables numbered from 1, in order. The values are secrets in plain text."""
    pairs: list[tuple[str, str]] = []
    for number, stored in enumerate(credentials, 1):
        fields: dict[str, str | None] = {
            "ACCESS_TOKEN": stored.access_token.get_secret_value(),
            "REFRESH_TOKEN": stored.refresh_token.get_secret_value() if stored.refresh_token else None,
            "EXPIRY_DATE": str(int(stored.expires_at.timestamp() * 1000)) if stored.expires_at else None,
            "EMAIL": stored.identity,
            "TIER": stored.tier,
            "PRIORITY": None if stored.priority is None else str(stored.priority),
        }
        for name, value in stored.details.items():
            fields[re.sub(r"[^A-Z0-9]", "_", name.upper())] = (
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
        pairs += [(f"{prefix}_{number}_{name}", value) for name, value in fields.items() if value]
    return pairs


def env_file(pairs: Iterable[tuple[str, str]]) -> str:
    """The text of a file that python-dotenv, Docker's ``--env-file`` (hence few quotes) and a shell can read."""
    lines = []
    for name, value in pairs:
        plain = re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value)
        quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        lines.append(f"{name}={value if plain else quoted}\n")
    return "".join(lines)
