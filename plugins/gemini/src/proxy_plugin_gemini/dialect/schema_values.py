"""A schema's constraints on values (types, enumerations, bounds), in Gemini's few keywords."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core import JsonObject

_TYPES = ("string", "number", "integer", "boolean", "object", "array")
_HINTS: tuple[tuple[str, frozenset[str]], ...] = (
    ("object", frozenset("properties additionalProperties patternProperties minProperties maxProperties".split())),
    ("array", frozenset("items prefixItems minItems maxItems uniqueItems contains".split())),
    ("string", frozenset("minLength maxLength pattern format contentEncoding".split())),
    ("number", frozenset("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split())),
)


def is_null(flat: Mapping[str, Any]) -> bool:
    if flat.get("type") == "null" or flat.get("type") == ["null"]:
        return True
    return ("const" in flat and flat["const"] is None) or flat.get("enum") == [None]


def named_types(raw: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The named types, in lower case, and whether null is among them."""
    found = raw.get("type")
    named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    lower = [t.lower() for t in named if isinstance(t, str)]
    return list(dict.fromkeys(t for t in lower if t in _TYPES)), "null" in lower


def inferred(raw: Mapping[str, Any]) -> str:
    for kind, keys in _HINTS:
        if not keys.isdisjoint(raw):
            return kind
    values = _values(raw)
    if values and all(_kind(v) == _kind(values[0]) for v in values):
        return _kind(values[0])
    return "string"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "object" if isinstance(value, Mapping) else "array" if isinstance(value, list) else "string"


def _values(raw: Mapping[str, Any]) -> list[Any] | None:
    values = [raw["const"]] if "const" in raw else raw.get("enum")
    return [v for v in values if v is not None and v != ""] if isinstance(values, list) else None


def enumerate_values(raw: Mapping[str, Any], kind: str, out: JsonObject) -> str:
    """Gemini's enumerations hold only strings. Other values keep their type and are listed in the description,
    because a number that came back as a string would not match the tool's declaration."""
    values = _values(raw)
    every = [raw["const"]] if "const" in raw else raw.get("enum")
    if isinstance(every, list) and None in every:
        out["nullable"] = True
    if not values:
        return kind
    if any(isinstance(v, str) for v in values) and not any(isinstance(v, Mapping | list) for v in values):
        out["enum"] = list(dict.fromkeys(v if isinstance(v, str) else json.dumps(v) for v in values))
        drop_foreign_default(out)
        return "string"
    listed = ", ".join(json.dumps(v, ensure_ascii=False) for v in values)
    hint = f"Must be {listed}." if len(values) == 1 else f"One of: {listed}."
    out["description"] = f"{out['description']} {hint}" if out.get("description") else hint
    return inferred({"enum": values}) if kind == "string" else kind


def drop_foreign_default(out: JsonObject) -> None:
    """Remove a default that is not a value of the enumeration, because the backend refuses it."""
    if "enum" in out and out.get("default") not in out["enum"]:
        out.pop("default", None)


def set_bounds(raw: Mapping[str, Any], kind: str, out: JsonObject) -> None:
    for key, exclusive, step, tighter in (
        ("minimum", "exclusiveMinimum", 1, max),
        ("maximum", "exclusiveMaximum", -1, min),
    ):
        bounds: list[int | float] = []
        if _finite(raw.get(key)):
            bounds.append(raw[key])
        if _finite(raw.get(exclusive)):
            edge = raw[exclusive]
            # For integers, an exclusive integer bound moves one step inwards; a fractional bound excludes no integer.
            bounds.append(edge + step if kind == "integer" and float(edge).is_integer() else edge)
        if bounds:
            out[key] = tighter(bounds)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def plain(value: object) -> bool:
    """Whether a value can be sent as it is: it contains no number that JSON cannot express."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(plain(v) for v in value)
    return True
