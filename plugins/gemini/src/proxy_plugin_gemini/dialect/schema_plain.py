"""Convert Gemini's own ``Schema`` to plain JSON Schema: lower-case types, ``nullable`` as a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import JsonObject
from proxy_core.dialects.common import wrong_type
from proxy_plugin_gemini.dialect.common import field, snake

_NAMES = (
    "title description enum items minItems maxItems properties minProperties maxProperties required minimum maximum "
    "minLength maxLength pattern default anyOf format additionalProperties"
).split()
_COUNTS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"})
_MAX_DEPTH = 100


def plain_schema(schema: Mapping[str, Any], depth: int = 0) -> JsonObject:
    """Raises ``BadRequest`` if it is nested too deeply. Unknown members are kept."""
    if depth > _MAX_DEPTH:
        raise wrong_type("tools", "less deeply nested")
    dropped = {"type", "nullable", "example", "propertyOrdering", "property_ordering"}
    out: JsonObject = {}
    for name in _NAMES:
        value = field(schema, name)
        if value is not None:
            # Google writes 64-bit counts as strings.
            out[name] = int(value) if name in _COUNTS and isinstance(value, str) and value.isdecimal() else value
        dropped |= {name, snake(name)}
    out |= {name: value for name, value in schema.items() if name not in dropped}
    if isinstance(out.get("items"), Mapping):
        out["items"] = plain_schema(out["items"], depth + 1)
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {
            name: plain_schema(value, depth + 1) if isinstance(value, Mapping) else value
            for name, value in out["properties"].items()
        }
    if isinstance(out.get("anyOf"), list):
        out["anyOf"] = [plain_schema(v, depth + 1) if isinstance(v, Mapping) else v for v in out["anyOf"]]
    if out.get("format") == "enum":
        del out["format"]
    kind = schema.get("type")
    nullable = schema.get("nullable") is True
    if isinstance(kind, str) and kind != "TYPE_UNSPECIFIED":
        out = {"type": [kind.lower(), "null"] if nullable else kind.lower(), **out}
        if nullable and isinstance(out.get("enum"), list) and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
    elif isinstance(kind, list):
        out = {"type": kind, **out}
    elif nullable and isinstance(out.get("anyOf"), list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    return out
