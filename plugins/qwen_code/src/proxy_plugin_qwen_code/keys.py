"""API keys in Qwen Code's settings. Pure; qwen-code.md section 7.4."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from pydantic import SecretStr

from proxy_core import FoundKey, KeyFile, json_object
from proxy_plugin_qwen_code.hosts import CODING, CODING_PREFIX, STUDIO, TOKEN, tier_of

#: Variables whose names say which plan their key is for, but not which region.
PLAN_VARIABLES: Mapping[str, str] = {
    "BAILIAN_CODING_PLAN_API_KEY": CODING,
    "BAILIAN_TOKEN_PLAN_API_KEY": TOKEN,
    "DASHSCOPE_API_KEY": STUDIO,
}
#: Qwen Code accepts comments in its settings. A string, which is kept, or a comment.
_COMMENT = re.compile(rb'("(?:[^"\\]|\\.)*+"?)|//[^\r\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)


class _Named(Struct, frozen=True):
    """A variable that may hold a key, and where the key would be valid: a tier, or ``why`` it is not this vendor's."""

    variable: str
    tier: str | None = None
    why: str = ""


def read_settings(data: bytes, variables: Mapping[str, str]) -> list[FoundKey]:
    """``~/.qwen/settings.json``: the keys for this vendor's plans that it refers to, each once.

    ``{"env": {name: value}, "modelProviders": {"openai": [{"envKey": name, "baseUrl": url}]}}``, all
    optional; ``variables`` win over ``env``. Raises ``ValueError`` naming the variables it looked for.
    """
    fields = json_object(_COMMENT.sub(lambda found: found[1] or b" ", data))
    values = {name.upper(): v for name, v in _table(fields.get("env")).items() if isinstance(v, str)} | dict(variables)
    found: dict[str, FoundKey] = {}
    problems: list[str] = []
    for named in _named(fields, values):
        key = values.get(named.variable.upper(), "").strip()
        if why := named.why or _no_key(key):
            problems.append(f"{named.variable} {why}")
        elif key not in found:
            found[key] = FoundKey(key=SecretStr(key), name=named.tier or named.variable, tier=named.tier)
    if not found:
        raise ValueError(f"it contains no key; {', '.join(dict.fromkeys(problems))}")
    return list(found.values())


def _named(fields: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Named]:
    """Entries come first, because they name the region."""
    entries = _table(fields.get("modelProviders")).get("openai")
    for entry in entries if isinstance(entries, list) else ():
        variable = _table(entry).get("envKey")
        if isinstance(variable, str) and variable:
            yield _at(variable, _table(entry).get("baseUrl"), values)
    for variable, plan in PLAN_VARIABLES.items():
        yield _Named(variable, plan)
    if values.get("OPENAI_BASE_URL"):
        yield _at("OPENAI_API_KEY", values["OPENAI_BASE_URL"], values)


def _at(variable: str, url: object, values: Mapping[str, str]) -> _Named:
    if not isinstance(url, str) or not url:
        # Without an address, Qwen Code uses DashScope.
        coding = values.get(variable.upper(), "").startswith(CODING_PREFIX)
        return _Named(variable, PLAN_VARIABLES.get(variable, CODING if coding else STUDIO))
    tier = tier_of(url)
    return _Named(variable, tier) if tier else _Named(variable, why="belongs to a host that serves none of the plans")


def _no_key(value: str) -> str:
    if not value:
        return "is not set"
    return "" if value.isascii() and value.isprintable() else "is not a key"


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


SETTINGS_FILE = KeyFile(
    name="qwen_settings",
    read=read_settings,
    paths=("~/.qwen/settings.json",),
    dotenvs=(".qwen/.env", ".env", "~/.qwen/.env", "~/.env"),
)
