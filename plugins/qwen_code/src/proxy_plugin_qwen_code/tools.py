"""Tools: schema keywords that this vendor refuses, and a dummy tool. Pure; qwen-code.md section 6.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DUMMY_NAME = "do_not_call_me"
DUMMY: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": DUMMY_NAME,
        "description": "Never call this function. It does nothing.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
    },
}

#: Schema keywords that the vendor refuses.
DROPS = frozenset({"strict", "$schema", "$id", "uniqueItems"})
#: Keywords whose members are property names, not keywords.
_NAMES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
#: Keywords whose values are data.
_DATA = frozenset({"enum", "const", "default", "examples", "required"})


def cleaned(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool with a schema that every host accepts."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    kept = {key: value for key, value in function.items() if key not in DROPS}
    parameters = kept.get("parameters")
    kept["parameters"] = _schema(parameters) if parameters else {"type": "object", "properties": {}}
    return {**tool, "function": kept}


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(entry) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in DROPS:
            continue
        if key in _NAMES and isinstance(value, Mapping):
            out[key] = {name: _schema(inner) for name, inner in value.items()}
        else:
            out[key] = value if key in _DATA else _schema(value)
    properties, required = out.get("properties"), out.get("required")
    named = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    if out.get("additionalProperties") is False and isinstance(properties, Mapping) and set(properties) - named:
        del out["additionalProperties"]  # the vendor refuses it if a property is optional
    return out
