"""Requests of the wire format ``openai_responses``: JSON to neutral values. Errors name the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from proxy_core import (
    BadRequest,
    ChatRequest,
    HostedTool,
    JsonObject,
    Message,
    ReasoningOptions,
    ResponseFormat,
    Sampling,
    Text,
)
from proxy_core.dialects.common import (
    missing,
    optional_bool,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    unknown_word,
    wrong_type,
)
from proxy_core.dialects.shapes import check_shape
from proxy_plugin_openai_responses.dialect.common import NAME
from proxy_plugin_openai_responses.dialect.decode_input import decode_input
from proxy_plugin_openai_responses.dialect.decode_tools import decode_choice, named_tools, with_names
from proxy_plugin_openai_responses.dialect.shape import request_shape

#: An optional whole number stays one.
Number = TypeVar("Number", int | None, float | None)
#: Top-level fields with a field in the neutral model; all others are kept in ``extra``.
_NAMED = frozenset(
    "model input instructions stream stream_options max_output_tokens temperature top_p top_logprobs tools tool_choice "
    "parallel_tool_calls reasoning text user metadata store service_tier prompt_cache_key".split()
)
#: What only OpenAI's own servers have: they would continue or run something that the proxy does not know.
_UNAVAILABLE = ("previous_response_id", "conversation", "prompt", "max_tool_calls")
_LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"


def decode(body: JsonObject) -> ChatRequest:
    """Convert a checked body to neutral values. Raises ``BadRequest`` naming the field."""
    check_shape(body, request_shape())
    for name in _UNAVAILABLE:
        if body.get(name) is not None:
            raise BadRequest(f"{name!r} is not available for this model.", param=name, code="unsupported_parameter")
    text, include = _object(body, "text"), included(body)
    _check_words(body)
    tools = named_tools(body)
    return ChatRequest(
        model=require_model(body),
        messages=with_names(_messages(body), tools),
        dialect=NAME,
        stream=body.get("stream") is True,
        include_usage=True,
        tools=[tool for tool, _ in tools],
        tool_choice=decode_choice(body.get("tool_choice"), tools),
        parallel_tool_calls=optional_bool(body, "parallel_tool_calls"),
        response_format=_format(text.get("format")),
        reasoning=_reasoning(_object(body, "reasoning"), include),
        sampling=_sampling(body, include),
        verbosity=optional_str(text, "verbosity", "text."),
        user=optional_str(body, "user"),
        metadata=_metadata(body),
        service_tier=optional_str(body, "service_tier"),
        cache_key=optional_str(body, "prompt_cache_key"),
        extra={
            **{key: value for key, value in body.items() if key not in _NAMED and value is not None},
            **_images(body),
        },
    )


def decode_strictly(body: JsonObject) -> ChatRequest:
    """:func:`decode`, which also refuses tools that only the vendor could run."""
    chat = decode(body)
    for tool in chat.tools:
        if isinstance(tool, HostedTool):
            raise BadRequest(
                f"Tools of type {tool.name!r} are not available for this model.", param="tools", code="invalid_value"
            )
    return chat


def included(body: Mapping[str, Any]) -> frozenset[str]:
    found = body.get("include")
    if found is None:
        return frozenset()
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise wrong_type("include", "an array of strings")
    return frozenset(found)


def _messages(body: JsonObject) -> list[Message]:
    instructions, found = optional_str(body, "instructions"), body.get("input")
    messages = decode_input(found if isinstance(found, list) else [{"role": "user", "content": found or ""}])
    if not messages:
        raise wrong_type("input", "a string or an array with a message")
    if instructions and instructions.strip():
        messages.insert(0, Message(role="system", parts=[Text(text=instructions)]))
    return messages


def _images(body: JsonObject) -> JsonObject:
    """Images that the model made before: upstreams of other formats get a note of them, and clients are told so."""
    found = body.get("input")
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    made = any(item.get("type") == "image_generation_call" and item.get("result") for item in items)
    return {"input[].result": True} if made else {}


def _sampling(body: JsonObject, include: frozenset[str]) -> Sampling:
    top = optional_int(body, "top_logprobs")
    return Sampling(
        max_tokens=_within("max_output_tokens", optional_int(body, "max_output_tokens"), 1),
        temperature=_within("temperature", optional_float(body, "temperature"), 0, 2),
        top_p=_within("top_p", optional_float(body, "top_p"), 0, 1),
        logprobs=True if _LOGPROBS in include or top else None,
        top_logprobs=top,
    )


def _within(name: str, value: Number, least: int, most: int | None = None) -> Number:
    """A number that every upstream would refuse is refused by its name here, which may not be the upstream's."""
    if value is not None and (value < least or (most is not None and value > most)):
        wanted = f"at least {least}" if most is None else f"between {least} and {most}"
        raise BadRequest(f"{name!r} must be {wanted}.", param=name, code="invalid_value")
    return value


def _check_words(body: JsonObject) -> None:
    if optional_str(body, "truncation") not in (None, "auto", "disabled"):
        raise BadRequest("'truncation' must be 'auto' or 'disabled'.", param="truncation", code="invalid_value")


def _metadata(body: JsonObject) -> JsonObject | None:
    found = _object(body, "metadata")
    for name, value in found.items():
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{name}", "a string")
    return found or None


def _reasoning(found: JsonObject, include: frozenset[str]) -> ReasoningOptions | None:
    """A client that asks for a summary, or for what it needs to send reasoning back, wants to see it."""
    effort = optional_str(found, "effort", "reasoning.")
    summary = optional_str(found, "summary", "reasoning.") or optional_str(found, "generate_summary", "reasoning.")
    if effort is None and summary is None:
        return None
    shown = summary is not None or ENCRYPTED in include
    rest = {key: value for key, value in found.items() if key not in ("effort", "summary", "generate_summary")}
    return ReasoningOptions(effort=effort, summary=summary, include=True if shown else None, extra=rest)


def _format(found: object) -> ResponseFormat | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise wrong_type("text.format", "an object")
    match found.get("type"):
        case "text":
            return None
        case "json_object":
            return ResponseFormat(kind="json_object")
        case "json_schema":
            if found.get("schema") is None:
                raise missing("text.format.schema")
            return ResponseFormat(
                kind="json_schema",
                name=optional_str(found, "name", "text.format."),
                schema=_object(found, "schema", "text.format."),
                description=optional_str(found, "description", "text.format."),
                strict=optional_bool(found, "strict", "text.format."),
            )
        case other:
            raise unknown_word("text.format.type", other)


def _object(source: Mapping[str, Any], name: str, at: str = "") -> JsonObject:
    found = source.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise wrong_type(at + name, "an object")
    return found
