"""API keys of the old folder: any variable whose name contains ``_API_KEY``, whatever follows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct
from pydantic import SecretStr, ValidationError

from proxy_core import ProviderSettings, Variable
from proxy_core.cli.api import StoredCredential

_KEY = re.compile(r"(?P<provider>[A-Z0-9_]*?)_API_KEY(?P<suffix>\w*)", re.ASCII)
#: In the old proxy's example file.
_PLACEHOLDER = "YOUR_"
#: This proxy would read the file, but not if a folder that somebody imports says so.
_OF_FILE = "the name of a file, by its own name; to take the keys in it: proxy-core credentials add PROVIDER < FILE"


class FoundKey(Struct, frozen=True, kw_only=True):
    """A variable that holds a key. ``problem``: why it is none."""

    variable: Variable
    key: SecretStr
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
        key, problem = ("", _OF_FILE) if match["suffix"].endswith("_FILE") else _read(value)
        if not problem and (other := seen.setdefault((provider, key), variable.name)) != variable.name:
            problem = f"the same key as {other}"
        suffix = match["suffix"].strip("_")
        yield FoundKey(variable=variable, key=SecretStr(key), provider=provider, suffix=suffix, problem=problem)


def _read(value: str) -> tuple[str, str]:
    """The key itself, and why it is none."""
    if not value:
        return "", "it is empty"
    if value.startswith(_PLACEHOLDER):
        return "", "a placeholder from the example file"
    try:
        [entry] = ProviderSettings.model_validate({"api_keys": [value]}).api_keys
    except ValidationError as error:
        return "", error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
    return entry.key.get_secret_value(), ""


def to_store(key: FoundKey, number: int, digits: int) -> StoredCredential:
    """Its name keeps the order: the vault sorts by name."""
    name = "-".join(filter(None, (f"{number:0{digits}}", key.suffix.lower() if not key.suffix.isdecimal() else "")))
    return StoredCredential(
        provider=key.provider,
        name=name,
        kind="api_key",
        access_token=key.key,
        origin=key.variable.name,
        added_at=datetime.now(UTC),
    )
