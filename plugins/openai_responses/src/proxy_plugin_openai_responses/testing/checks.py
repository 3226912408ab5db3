"""What OpenAI refuses in a request, as ``(message, param)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REQUEST = frozenset(
    (
        "model input instructions tools tool_choice parallel_tool_calls max_output_tokens max_tool_calls temperature"
        " top_p top_logprobs truncation reasoning text include stream stream_options store previous_response_id"
        " conversation background prompt metadata service_tier user safety_identifier prompt_cache_key"
        " prompt_cache_options prompt_cache_retention context_management moderation client_metadata"
    ).split()
)
_PARTS = {
    "input_text": {"text"},
    "input_image": {"image_url", "file_id", "detail"},
    "input_file": {"file_data", "file_id", "file_url", "filename"},
    "input_audio": {"input_audio"},
    "output_text": {"text", "annotations", "logprobs"},
    "refusal": {"refusal"},
}
_ITEMS: dict[str, set[str]] = {
    "message": {"role", "content", "id", "status", "phase"},
    "function_call": {"call_id", "name", "arguments", "id", "namespace", "status"},
    "function_call_output": {"call_id", "output", "id", "status"},
    "custom_tool_call": {"call_id", "name", "input", "id", "namespace", "status"},
    "custom_tool_call_output": {"call_id", "output", "id"},
    "reasoning": {"id", "summary", "content", "encrypted_content", "status"},
}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_EFFORTS = frozenset("none minimal low medium high xhigh max".split())


class Refused(Exception):
    """A 400."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def check(body: Mapping[str, Any], encrypted: frozenset[str] | set[str]) -> None:
    """Raise ``Refused``. ``encrypted`` is the reasoning that this server has encrypted, which alone it can read."""
    for name, value in body.items():
        if name not in _REQUEST:
            raise Refused(f"Unknown parameter: '{name}'.", name)
        if value is None and name in ("tools", "input", "stream", "include"):
            raise Refused(f"Invalid type for '{name}'.", name)
    found = body.get("input")
    if isinstance(found, list):
        _input(found, encrypted)
    elif not isinstance(found, str):
        raise Refused("Missing required parameter: 'input'.", "input")
    if not found:
        raise Refused("One of 'input' or 'previous_response_id' must be provided.", "input")
    _tools(body.get("tools", ()), body)
    _options(body)


def _input(items: list[Any], encrypted: frozenset[str] | set[str]) -> None:
    calls: dict[str, str] = {}
    answered: set[str] = set()
    for index, item in enumerate(items):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        if kind not in _ITEMS:
            continue  # hosted tools and others
        _keys(item, _ITEMS[kind] | {"type"}, where)
        call_id = item.get("call_id")
        if kind == "message":
            _message(item, where)
        elif kind == "reasoning" and item.get("encrypted_content") not in encrypted:
            raise Refused("The encrypted content could not be verified.", where)
        elif kind in ("function_call", "custom_tool_call"):
            _call(item, kind, where)
            if call_id in calls:
                raise Refused(f"Duplicate call_id {call_id!r}.", where)
            calls[call_id] = kind
        elif kind.endswith("_output"):
            if calls.get(call_id) != kind.removesuffix("_output"):
                raise Refused(f"No tool call found for function call output with call_id {call_id}.", "input")
            _output(item.get("output"), where)
            answered.add(call_id)
    for call_id in calls:
        if call_id not in answered:
            raise Refused(f"No tool output found for function call {call_id}.", "input")


def _keys(found: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in found:
        if name not in known:
            raise Refused(f"Unknown parameter: '{where}.{name}'.", f"{where}.{name}")


def _message(item: Mapping[str, Any], where: str) -> None:
    if item.get("role") not in ("user", "assistant", "system", "developer"):
        raise Refused(f"Invalid value: {item.get('role')!r}.", f"{where}.role")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise Refused("Invalid content.", f"{where}.content")
    allowed = ("output_text", "refusal") if item["role"] == "assistant" else tuple(n for n in _PARTS if "input" in n)
    for number, part in enumerate(content):
        _part(part, allowed, f"{where}.content[{number}]")


def _part(part: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    kind = part.get("type")
    if kind not in allowed:
        raise Refused(f"Invalid value: {kind!r}. Supported values are: {allowed}.", where)
    _keys(part, _PARTS[kind] | {"type"}, where)
    if kind == "input_text" and not isinstance(part.get("text"), str):
        raise Refused("Invalid type.", where)
    if kind == "input_image" and not isinstance(part.get("image_url", ""), str):
        raise Refused("Invalid type: expected an image URL, but got an object instead.", where)
    if kind == "input_file" and "file_data" in part and not part.get("filename"):
        raise Refused("Missing required parameter: 'filename'.", where)


def _call(item: Mapping[str, Any], kind: str, where: str) -> None:
    if not _NAME.fullmatch(item.get("name", "")):
        raise Refused("Invalid 'name'.", f"{where}.name")
    if not 1 <= len(item.get("call_id", "")) <= 64:
        raise Refused(f"Invalid '{where}.call_id': string too long.", f"{where}.call_id")
    if not isinstance(item.get("input" if kind == "custom_tool_call" else "arguments"), str):
        raise Refused("Missing the arguments.", where)


def _output(output: Any, where: str) -> None:
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        raise Refused("Invalid type.", f"{where}.output")
    for number, part in enumerate(output):
        _part(part, ("input_text", "input_image", "input_file"), f"{where}.output[{number}]")


def _tools(tools: Any, body: Mapping[str, Any]) -> None:
    names = set()
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        inside = tool.get("tools", ()) if tool.get("type") == "namespace" else [tool]
        for one in inside:
            if one["type"] in ("function", "custom") and not _NAME.fullmatch(one.get("name", "")):
                raise Refused(f"Missing required parameter: '{where}.name'.", f"{where}.name")
            if one["type"] == "function":
                schema = one.get("parameters")
                if not isinstance(schema, dict) or schema.get("type") != "object" or "properties" not in schema:
                    raise Refused(f"Invalid schema for function '{one['name']}'.", f"{where}.parameters")
        names |= {one.get("name") or one["type"] for one in (tool, *inside)}
    choice = body.get("tool_choice")
    if choice is not None and not tools:
        raise Refused("Tool choice is only allowed when 'tools' are specified.", "tool_choice")
    chosen = choice.get("tools", [choice]) if isinstance(choice, dict) else ()
    for one in chosen:
        if (one.get("name") or one["type"]) not in names:
            raise Refused("Tool choice not found in 'tools' parameter.", "tool_choice")


def _options(body: Mapping[str, Any]) -> None:
    limit = body.get("max_output_tokens")
    if limit is not None and limit < 16:
        raise Refused("Invalid 'max_output_tokens': integer below minimum value.", "max_output_tokens")
    effort = body.get("reasoning", {}).get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise Refused(f"Invalid value: {effort!r}.", "reasoning.effort")
    style = body.get("text", {}).get("format", {})
    if style.get("type") == "json_schema" and not (style.get("name") and isinstance(style.get("schema"), dict)):
        raise Refused("Missing required parameter: 'text.format.name'.", "text.format.name")
    if len(body.get("user") or "") > 64:
        raise Refused("Invalid 'user': string too long.", "user")
    if body.get("previous_response_id"):
        raise Refused("Previous response not found.", "previous_response_id")
