"""A response's schema in the subset that the API can hold a model to. Pure.

Objects must be closed. What the subset lacks (limits of numbers and lengths, patterns) goes into the description, where
the model still reads it. Source: docs of the API, "Structured outputs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core import JsonObject

_DEEPEST = 40
_KEPT = ("title", "description", "default", "const", "enum")
_FORMATS = frozenset("date-time time date duration email hostname uri ipv4 ipv6 uuid".split())
_TYPES = frozenset("object array string integer number boolean null".split())


class _NoSuchSchema(Exception):
    """The subset cannot express it at all: an object with any members, a schema that contains itself."""


def format_schema(schema: Mapping[str, Any]) -> JsonObject | None:
    """The schema for ``output_config.format``; ``None`` if there is none that means the same."""
    try:
        if _contains_itself(schema):
            return None
        return _of(schema, 0)
    except _NoSuchSchema:
        return None


def _of(schema: object, depth: int) -> JsonObject:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise _NoSuchSchema
    rest = dict(schema)
    out: JsonObject = {}
    for name in ("$defs", "definitions"):
        if isinstance(found := rest.pop(name, None), Mapping):
            out[name] = {key: _of(inner, depth + 1) for key, inner in found.items()}
    if isinstance(rest.get("$ref"), str):
        return {**out, "$ref": rest["$ref"]}
    out |= {name: rest.pop(name) for name in _KEPT if name in rest}
    kind = rest.pop("type", None)
    branches = _branches(rest, kind)
    if branches is not None:
        out["anyOf"] = [_of(branch, depth + 1) for branch in branches]
        return _told(out, rest)
    if isinstance(rest.get("allOf"), list):
        out["allOf"] = [_of(branch, depth + 1) for branch in rest.pop("allOf")]
        return _told(out, rest)
    if not isinstance(kind, str | None):
        raise _NoSuchSchema
    if kind not in _TYPES and not {"enum", "const"} & out.keys():
        raise _NoSuchSchema
    if kind in _TYPES:
        out["type"] = kind
        _members(out, rest, depth)
    return _told(out, rest)


def _branches(rest: JsonObject, kind: object) -> Sequence[object] | None:
    """Alternatives; several types are alternatives, too."""
    for name in ("anyOf", "oneOf"):
        if isinstance(found := rest.pop(name, None), list):
            return found
    if not isinstance(kind, list):
        return None
    shared = {name: rest.pop(name) for name in list(rest)}
    return [{**(shared if one != "null" else {}), "type": one} for one in kind]


def _members(out: JsonObject, rest: JsonObject, depth: int) -> None:
    match out["type"]:
        case "object":
            properties = rest.pop("properties", None)
            if not isinstance(properties, Mapping) or rest.pop("additionalProperties", False) not in (False, True):
                raise _NoSuchSchema
            if not properties:
                raise _NoSuchSchema
            out["properties"] = {name: _of(inner, depth + 1) for name, inner in properties.items()}
            out["additionalProperties"] = False
            if isinstance(required := rest.pop("required", None), list):
                out["required"] = required
        case "array":
            if "items" in rest:
                out["items"] = _of(rest.pop("items"), depth + 1)
            if rest.get("minItems") in (0, 1):
                out["minItems"] = rest.pop("minItems")
        case "string":
            if isinstance(rest.get("format"), str) and rest["format"] in _FORMATS:
                out["format"] = rest.pop("format")


def _told(out: JsonObject, rest: JsonObject) -> JsonObject:
    told = {name: value for name, value in rest.items() if not name.startswith("$") and name != "strict"}
    if not told:
        return out
    before = f"{out['description']}\n\n" if isinstance(out.get("description"), str) else ""
    return {**out, "description": before + json.dumps(told, ensure_ascii=False, default=str)}


def _contains_itself(root: Mapping[str, Any]) -> bool:
    """Whether following references comes back to a definition from within it."""
    definitions = {
        f"#/{name}/{key}": inner
        for name in ("$defs", "definitions")
        if isinstance(found := root.get(name), Mapping)
        for key, inner in found.items()
    }
    uses = {name: set(_references(inner)) for name, inner in definitions.items()}
    reached: set[str] = set()
    for name in uses:
        pending, reached = list(uses[name]), set()
        while pending:
            at = pending.pop()
            if at in ("#", name):
                return True
            if at not in reached:
                reached.add(at)
                pending += uses.get(at, ())
    return "#" in set(_references(root))


def _references(value: object) -> list[str]:
    found, pending = [], [value]
    while pending:
        inner = pending.pop()
        if isinstance(inner, Mapping):
            if isinstance(inner.get("$ref"), str):
                found.append(inner["$ref"])
            pending += [v for k, v in inner.items() if k not in ("$defs", "definitions")]
        elif isinstance(inner, list):
            pending += inner
    return found
