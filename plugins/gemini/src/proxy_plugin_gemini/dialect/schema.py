"""Reduce JSON Schema to what Gemini accepts: the few keywords of its ``Schema`` message, references inlined.

The result is valid as ``parametersJsonSchema`` and, in upper case, as ``parameters``, because some serving paths
translate one into the other. Source: ``google.ai.generativelanguage.v1beta.Schema``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from proxy_core import JsonObject
from proxy_plugin_gemini.dialect.schema_merge import Resolver, siblings_for
from proxy_plugin_gemini.dialect.schema_values import (
    drop_foreign_default,
    enumerate_values,
    inferred,
    is_null,
    named_types,
    plain,
    set_bounds,
)

#: All keywords of the ``Schema`` message; the backend refuses any other.
KEYWORDS = frozenset(
    "type format title description nullable enum items minItems maxItems properties minProperties maxProperties "
    "required propertyOrdering minimum maximum minLength maxLength pattern example default anyOf".split()
)
_FORMATS = frozenset({"enum", "date-time", "int32", "int64", "float", "double"})
_COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
#: The keywords that each type may have besides title, description, nullable, default, example and enum.
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "format"}),
    "integer": frozenset({"minimum", "maximum", "format"}),
    "boolean": frozenset(),
    "object": frozenset({"properties", "required", "minProperties", "maxProperties", "propertyOrdering"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
}
_CONSTRAINTS = frozenset[str]().union(*_OF_TYPE.values())
_VALUES = frozenset({"enum", "const", "prefixItems"})
_MAX_DEPTH = 32
#: Nested references multiply; beyond this many nodes, the rest becomes ``{"type": "object"}``.
_MAX_NODES = 5000
#: Agents send the same tools with every turn, so results are cached, except those of schemas larger than this.
_MAX_CACHED_BYTES = 16 * 1024


def clean_parameters(schema: Mapping[str, Any] | None) -> JsonObject | None:
    """A function's parameters; ``None`` if there are none, because Gemini expects the field to be absent.

    The caller's object is not changed. The result is shared between calls and must not be changed.
    """
    if not schema:
        return None
    cleaned = _cached(schema, root=True)
    return cleaned if cleaned.get("properties") else None


def clean_response(schema: Mapping[str, Any]) -> JsonObject:
    """The schema of a response, which need not be an object. The result must not be changed."""
    return _cached(schema, root=False)


def upper_types(schema: JsonObject) -> JsonObject:
    """A cleaned schema in the spelling of ``parameters`` and ``responseSchema``."""
    out = dict(schema)
    if "type" in out:
        out["type"] = out["type"].upper()
    if "items" in out:
        out["items"] = upper_types(out["items"])
    if "anyOf" in out:
        out["anyOf"] = [upper_types(branch) for branch in out["anyOf"]]
    if "properties" in out:
        out["properties"] = {name: upper_types(value) for name, value in out["properties"].items()}
    return out


def _cached(schema: Mapping[str, Any], *, root: bool) -> JsonObject:
    try:
        text = json.dumps(schema)
    except (ValueError, TypeError, RecursionError):
        return {"type": "object"}
    return _kept(text, root) if len(text) <= _MAX_CACHED_BYTES else _clean(schema, root)


@lru_cache(maxsize=1024)
def _kept(text: str, root: bool) -> JsonObject:
    return _clean(json.loads(text), root)


def _clean(schema: Mapping[str, Any], root: bool) -> JsonObject:
    cleaner = _Cleaner(schema)
    cleaned = cleaner.node(schema, 0, ())
    if not root:
        return cleaned or {"type": "object"}
    return _as_object(cleaned or {})


def _as_object(cleaned: JsonObject) -> JsonObject:
    """Arguments are always an object, so alternatives at the root are combined into one."""
    if cleaned.get("type") == "object":
        return cleaned
    branches = [b for b in cleaned.get("anyOf", ()) if b.get("type") == "object"]
    properties: JsonObject = {}
    for branch in branches:
        properties = {**branch.get("properties", {}), **properties}
    if not properties:
        return {"type": "object"}
    required = [n for n in branches[0].get("required", ()) if all(n in b.get("required", ()) for b in branches)]
    kept: JsonObject = {key: cleaned[key] for key in ("title", "description") if key in cleaned}
    return {"type": "object", **kept, "properties": properties, **({"required": required} if required else {})}


class _Cleaner:
    """Walks one schema and counts the nodes that it creates."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._resolver = Resolver(root)
        self._nodes = 0

    def node(self, schema: object, depth: int, path: tuple[str, ...]) -> JsonObject | None:
        """``path``: the references that lead to this node. Returns ``None`` if no value is allowed here (``false``)."""
        if schema is False:
            return None
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return {"type": "object"}
        raw, path = self._resolver.flat(schema, path)
        out = self._texts(raw)
        types, nullable = named_types(raw)
        branches, branch_null = self._branches(raw, depth, path)
        if nullable or branch_null or raw.get("nullable") is True:
            out["nullable"] = True
        if branches is None and len(types) > 1:
            branches = [
                self.node({**siblings_for(raw, _OF_TYPE[t] | _VALUES), "type": t}, depth + 1, path) for t in types
            ]
        if branches:
            return _alternatives(out, [b for b in branches if b is not None])
        self._typed(raw, types[0] if types else inferred(raw), out, depth, path)
        return out

    def _texts(self, raw: Mapping[str, Any]) -> JsonObject:
        out: JsonObject = {key: raw[key] for key in ("title", "description") if isinstance(raw.get(key), str)}
        for key in ("default", "example"):
            if raw.get(key) is not None and plain(raw[key]):
                out[key] = raw[key]
        return out

    def _branches(
        self, raw: Mapping[str, Any], depth: int, path: tuple[str, ...]
    ) -> tuple[list[JsonObject | None] | None, bool]:
        """The alternatives, each merged with its siblings; and whether one of them was null."""
        found = raw.get("anyOf") if isinstance(raw.get("anyOf"), list) else raw.get("oneOf")
        if not isinstance(found, list) or not found or True in found:
            return None, False
        beside = siblings_for(raw, _CONSTRAINTS | _VALUES | {"type"})
        kept: list[JsonObject | None] = []
        null = False
        for branch in found:
            if not isinstance(branch, Mapping):
                continue
            flat, inner = self._resolver.flat(branch, path)
            if is_null(flat):
                null = True
                continue
            kept.append(self.node(self._resolver.merge(flat, beside), depth + 1, inner))
        if len(kept) > 1 and all(b is None for b in kept):
            return None, null
        return kept or None, null

    def _typed(self, raw: Mapping[str, Any], kind: str, out: JsonObject, depth: int, path: tuple[str, ...]) -> None:
        kind = enumerate_values(raw, kind, out)
        out["type"] = kind
        own = _OF_TYPE[kind]
        for key in _COUNTS:
            value = raw.get(key)
            if key in own and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**31:
                out[key] = int(value)
        if "pattern" in own and isinstance(raw.get("pattern"), str):
            out["pattern"] = raw["pattern"]
        if "format" in own and isinstance(raw.get("format"), str) and raw["format"] in _FORMATS:
            out["format"] = raw["format"]
        if kind in ("number", "integer"):
            set_bounds(raw, kind, out)
        elif kind == "array":
            out["items"] = self._items(raw, depth, path)
        elif kind == "object":
            self._properties(raw, out, depth, path)

    def _items(self, raw: Mapping[str, Any], depth: int, path: tuple[str, ...]) -> JsonObject:
        """Gemini has no tuples, so any of their schemas is allowed at any position."""
        found = raw.get("prefixItems")
        if not isinstance(found, list):
            found = raw.get("items")
        if not isinstance(found, list):
            item = self.node(found, depth + 1, path) if isinstance(found, Mapping) else None
            return item or {"type": "string"}
        items = [self.node(entry, depth + 1, path) for entry in found if isinstance(entry, Mapping)]
        return _alternatives({}, [item for item in items if item is not None])

    def _properties(self, raw: Mapping[str, Any], out: JsonObject, depth: int, path: tuple[str, ...]) -> None:
        found = raw.get("properties")
        properties = {}
        for name, value in found.items() if isinstance(found, Mapping) else ():
            cleaned = self.node(value, depth + 1, path)
            if cleaned is not None:
                properties[name] = cleaned
        if not properties:
            return
        out["properties"] = properties
        for key in ("required", "propertyOrdering"):
            names = raw.get(key)
            if isinstance(names, list):
                known = list(dict.fromkeys(n for n in names if isinstance(n, str) and n in properties))
                if known:
                    out[key] = known


def _alternatives(out: JsonObject, branches: list[JsonObject]) -> JsonObject:
    different: list[JsonObject] = []
    for branch in branches:
        inner = branch["anyOf"] if branch.keys() == {"anyOf"} else [branch]
        different += [b for b in inner if b not in different]
    if not different:
        return {**out, "type": "string"}
    if len(different) == 1:
        only = {**different[0], **out}
        drop_foreign_default(only)
        return only
    return {**out, "anyOf": different}
