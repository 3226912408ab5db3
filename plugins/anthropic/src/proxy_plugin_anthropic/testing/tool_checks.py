"""What the API refuses in tools, in their choice and in the format of the output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_plugin_anthropic.testing.words import Refused, known_keys

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TOOL = frozenset(
    (
        "type name description input_schema strict cache_control defer_loading input_examples eager_input_streaming"
    ).split()
)
#: Keywords that a format's schema may not have.
_UNSUPPORTED = frozenset(
    (
        "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems"
        " patternProperties propertyNames minProperties maxProperties oneOf not if then else"
    ).split()
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def check_tools(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the tools."""
    names = []
    for at, tool in enumerate(tools):
        names.append(tool.get("name", ""))
        if not _NAME.fullmatch(names[-1]):
            raise Refused(f"tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool.get("type", "custom") != "custom":
            continue
        known_keys(tool, _TOOL, f"tools.{at}.custom")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise Refused(f"tools.{at}.custom.input_schema.type: Input should be 'object'")
        if {"oneOf", "allOf", "anyOf"} & schema.keys():
            raise Refused(
                f"tools.{at}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
            )
    if len(set(names)) < len(names):
        raise Refused("tools: Tool names must be unique.")
    return names


def check_choice(choice: Mapping[str, Any] | None, tools: Sequence[str]) -> None:
    if choice is None:
        return
    known_keys(choice, frozenset({"type", "name", "disable_parallel_tool_use"}), "tool_choice")
    if not tools:
        raise Refused("tool_choice: may only be specified while providing tools")
    if choice.get("type") not in ("auto", "any", "none", "tool"):
        raise Refused("tool_choice.type: unknown")
    if choice["type"] == "tool" and choice.get("name") not in tools:
        raise Refused(f"Tool '{choice.get('name')}' not found in provided tools")
    if choice["type"] == "none" and "disable_parallel_tool_use" in choice:
        raise Refused("tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted")


def check_format(config: Mapping[str, Any], *, efforts: bool) -> None:
    known_keys(config, frozenset({"format", "effort"}), "output_config")
    if "effort" in config and (not efforts or config["effort"] not in _EFFORTS):
        raise Refused("This model does not support the effort parameter.")
    if "format" in config:
        known_keys(config["format"], frozenset({"type", "schema"}), "output_config.format")
        _schema(config["format"]["schema"])


def _schema(schema: Any) -> None:
    if not isinstance(schema, dict):
        raise Refused("output_config.format.schema: Input should be a valid dictionary")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise Refused(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
    unsupported = _UNSUPPORTED & schema.keys()
    if unsupported:
        raise Refused(f"output_config.format.schema: properties {', '.join(sorted(unsupported))} are not supported")
    for inner in (
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
        *schema.get("allOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ):
        _schema(inner)
