"""Raw tables of settings: one laid over another, and what nested names of variables make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource

from proxy_core.settings.sources import Variables

PREFIX = "PROXY_"
DELIMITER = "__"


def nested_table(cls: type[BaseModel], prefix: str, variables: Variables) -> dict[str, Any]:
    """What variables whose names begin with ``prefix`` set in a table of this class."""
    values = {n.lower(): v.value for n, v in variables.items() if n.upper().startswith(prefix)}
    if not values:
        return {}
    # The source reads a class's fields and configuration, which plain models have, too. It takes a millisecond.
    source = EnvSettingsSource(cast(type[BaseSettings], cls), env_prefix=prefix, env_nested_delimiter=DELIMITER)
    source.config = {**source.config, "enable_decoding": False}  # lists are read by the fields themselves
    source.env_vars = values
    return source()


def table_at(table: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The table at ``path``; empty where there is none."""
    node: Any = table
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """``high`` over ``low``, table by table."""
    both = dict(low)
    for key, value in high.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both
