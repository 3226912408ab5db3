"""A tool's parameters as the API takes them: the schema of an object, without alternatives at its root. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core import JsonObject

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")


def input_schema(schema: Mapping[str, Any] | None) -> JsonObject:
    """``schema``, where alternatives at the root become the union of their properties."""
    root = _resolved(dict(schema or {}))
    for keyword in _ALTERNATIVES:
        branches = root.pop(keyword, None)
        if isinstance(branches, list):
            objects = [_resolved({**_definitions(root), **b}) for b in branches if isinstance(b, Mapping)]
            root = _united(root, objects, every=keyword == "allOf")
    root["type"] = "object"
    if not isinstance(root.get("properties"), Mapping):
        root["properties"] = {}
    if not isinstance(root.get("required", []), list):
        del root["required"]
    return root


def _united(root: JsonObject, branches: Sequence[JsonObject], *, every: bool) -> JsonObject:
    """``every``: all branches apply, so all that one of them requires is required."""
    properties: JsonObject = {}
    for found in (*branches, root):
        properties |= found["properties"] if isinstance(found.get("properties"), Mapping) else {}
    required = [set(_names(branch.get("required"))) for branch in branches]
    common = set().union(*required) if every else set.intersection(*required) if required else set()
    wanted = [name for name in properties if name in common | set(_names(root.get("required")))]
    out = {**root, "properties": properties}
    out.pop("required", None)
    return {**out, "required": wanted} if wanted else out


def _resolved(schema: JsonObject) -> JsonObject:
    """A root that only refers to one of its definitions."""
    for _ in range(8):
        name = schema.get("$ref")
        if not isinstance(name, str):
            break
        target: Any = schema
        for step in name.removeprefix("#/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**rest, **target} if isinstance(target, Mapping) and target is not schema else rest
    return {key: value for key, value in schema.items() if key != "$ref"}


def _definitions(schema: Mapping[str, Any]) -> JsonObject:
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
