"""API keys of the old folder: any variable whose name contains ``_API_KEY``, whatever follows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import Variable
from proxy_core.cli.api import StoredCredential, check_tokens

_KEY = re.compile(r"(?P<provider>[A-Z0-9_]*?)_API_KEY(?P<suffix>\w*)", re.ASCII)
#: In the old proxy's example file.
_PLACEHOLDER = "YOUR_"


class FoundKey(Struct, frozen=True, kw_only=True):
    """A variable that holds a key. ``problem``: why it is none."""

    variable: Variable
    provider: str
    suffix: str
    problem: str = ""


def found_keys(variables: Iterable[Variable]) -> Iterator[FoundKey]:
    """In the order of the files, which was the old proxy's order. The same key under two names is one key."""
    seen: dict[tuple[str, str], str] = {}
    for variable in variables:
        match = _KEY.fullmatch(variable.name)
        if match is None or variable.name == "PROXY_API_KEY":
            continue
        provider, value = match["provider"].lower(), variable.value.strip()
        problem = _problem(value)
        if not problem and (other := seen.setdefault((provider, value), variable.name)) != variable.name:
            problem = f"the same key as {other}"
        yield FoundKey(variable=variable, provider=provider, suffix=match["suffix"].strip("_"), problem=problem)


def _problem(value: str) -> str:
    if not value:
        return "it is empty"
    if value.startswith(_PLACEHOLDER):
        return "a placeholder from the example file"
    try:
        check_tokens(SecretStr(value), None)
    except ValueError:
        return "a key is one line of printable ASCII characters"
    return ""


def to_store(key: FoundKey, number: int, digits: int) -> StoredCredential:
    """Its name keeps the order: the vault sorts by name."""
    name = "-".join(filter(None, (f"{number:0{digits}}", key.suffix.lower() if not key.suffix.isdecimal() else "")))
    return StoredCredential(
        provider=key.provider,
        name=name,
        kind="api_key",
        access_token=SecretStr(key.variable.value.strip()),
        origin=key.variable.name,
        added_at=datetime.now(UTC),
    )
