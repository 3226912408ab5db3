"""Requests of the wire format ``openai_chat``: JSON to neutral values. Errors name the field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from proxy_core.dialects.common import (
    RUN_BY_OPENAI,
    decode_url,
    missing,
    optional_bool,
    optional_float,
    optional_int,
    optional_str,
    require_model,
    unknown_word,
    without_none,
    wrong_type,
)
from proxy_core.dialects.openai_chat.shape import request_shape
from proxy_core.dialects.openai_chat.signatures import decode_signature
from proxy_core.dialects.shapes import check_shape
from proxy_core.errors import BadRequest
from proxy_core.messages import (
    Audio,
    ChatRequest,
    CustomTool,
    Extra,
    File,
    FunctionTool,
    HostedTool,
    Image,
    InlineData,
    JsonObject,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningOptions,
    Refusal,
    ResponseFormat,
    Role,
    Sampling,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    UploadedFile,
)

NAME = "openai_chat"

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
#: Top-level fields with a field in the neutral model; all others are kept in ``extra``.
_NAMED = frozenset(
    "model messages stream stream_options max_completion_tokens max_tokens temperature top_p top_k stop seed "
    "presence_penalty frequency_penalty logit_bias logprobs top_logprobs n response_format tools tool_choice "
    "parallel_tool_calls functions function_call reasoning_effort verbosity modalities metadata store user "
    "service_tier prompt_cache_key".split()
)


def decode(body: JsonObject) -> ChatRequest:
    """Convert a checked body to neutral values. Raises ``BadRequest`` naming the field."""
    check_shape(body, request_shape())
    tools, choice = _decode_tools(body), _decode_tool_choice(body)
    return ChatRequest(
        model=require_model(body),
        messages=[_decode_message(m, i) for i, m in enumerate(body["messages"])],
        dialect=NAME,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=optional_bool(body, "parallel_tool_calls"),
        response_format=_decode_format(body.get("response_format")),
        reasoning=_decode_reasoning(body),
        sampling=_decode_sampling(body),
        verbosity=optional_str(body, "verbosity"),
        modalities=tuple(body.get("modalities") or ()),
        user=optional_str(body, "user"),
        metadata=body.get("metadata"),
        store=optional_bool(body, "store"),
        service_tier=optional_str(body, "service_tier"),
        cache_key=optional_str(body, "prompt_cache_key"),
        extra={key: value for key, value in body.items() if key not in _NAMED},
    )


def _decode_sampling(body: JsonObject) -> Sampling:
    limit, old_limit = optional_int(body, "max_completion_tokens"), optional_int(body, "max_tokens")
    return Sampling(
        max_tokens=limit if limit is not None else old_limit,
        temperature=optional_float(body, "temperature"),
        top_p=optional_float(body, "top_p"),
        top_k=optional_int(body, "top_k"),
        stop=_decode_stop(body.get("stop")),
        seed=optional_int(body, "seed"),
        presence_penalty=optional_float(body, "presence_penalty"),
        frequency_penalty=optional_float(body, "frequency_penalty"),
        logit_bias=_optional_object(body.get("logit_bias"), "logit_bias"),
        logprobs=optional_bool(body, "logprobs"),
        top_logprobs=optional_int(body, "top_logprobs"),
        n=optional_int(body, "n"),
    )


def _decode_stop(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    if isinstance(stop, str):
        return (stop,)
    if isinstance(stop, list) and all(isinstance(s, str) for s in stop):
        return tuple(stop)
    raise wrong_type("stop", "a string or an array of strings")


def _decode_reasoning(body: JsonObject) -> ReasoningOptions | None:
    effort = optional_str(body, "reasoning_effort")
    return None if effort is None else ReasoningOptions(effort=effort)


def _optional_object(value: object, param: str) -> Extra | None:
    if not isinstance(value, dict | None):
        raise wrong_type(param, "an object")
    return value


def _decode_format(value: object) -> ResponseFormat | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("response_format", "an object")
    match value.get("type"):
        case "text" | "json_object" as kind:
            return ResponseFormat(kind=kind)
        case "json_schema":
            spec = value.get("json_schema")
            if not isinstance(spec, dict):
                raise missing("response_format.json_schema")
            return ResponseFormat(
                kind="json_schema",
                name=optional_str(spec, "name", "response_format.json_schema."),
                schema=_optional_object(spec.get("schema"), "response_format.json_schema.schema"),
                description=optional_str(spec, "description", "response_format.json_schema."),
                strict=optional_bool(spec, "strict", "response_format.json_schema."),
            )
        case other:
            raise unknown_word("response_format.type", other)


def _decode_tools(body: JsonObject) -> list[Tool]:
    tools = body.get("tools")
    if tools is None:
        functions = body.get("functions") or []
        tools = [{"type": "function", "function": f} for f in functions]
    if not isinstance(tools, list):
        raise wrong_type("tools", "an array")
    return [_decode_tool(tool, i) for i, tool in enumerate(tools)]


def _decode_tool(tool: object, index: int) -> Tool:
    at = f"tools[{index}]"
    if not isinstance(tool, dict):
        raise wrong_type(at, "an object")
    kind = tool.get("type")
    spec = tool.get(kind) if isinstance(kind, str) else None
    outer = {k: v for k, v in tool.items() if k not in ("type", "function", "custom")}
    if kind == "function" and isinstance(spec, dict):
        known = ("name", "description", "parameters", "strict")
        return FunctionTool(
            name=_name(spec, f"{at}.function"),
            description=optional_str(spec, "description", f"{at}.function."),
            parameters=_optional_object(spec.get("parameters"), f"{at}.function.parameters"),
            strict=optional_bool(spec, "strict", f"{at}.function."),
            extra=without_none(tool=outer or None, function={k: v for k, v in spec.items() if k not in known} or None),
        )
    if kind == "custom" and isinstance(spec, dict):
        style = spec.get("format") or {}
        return CustomTool(
            name=_name(spec, f"{at}.custom"),
            description=optional_str(spec, "description", f"{at}.custom."),
            grammar=style.get("grammar") if style.get("type") == "grammar" else None,
            extra=without_none(tool=outer or None),
        )
    if kind in ("function", "custom") or not isinstance(kind, str):
        raise missing(f"{at}.{kind or 'type'}")
    return HostedTool(dialect=NAME, payload=tool, optional=kind.startswith(RUN_BY_OPENAI))


def _name(spec: Mapping[str, Any], at: str) -> str:
    name = spec.get("name")
    if not isinstance(name, str) or not name:
        raise missing(f"{at}.name")
    return name


def _decode_tool_choice(body: JsonObject) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
        if isinstance(choice, dict):
            choice = {"type": "function", "function": choice}
    match choice:
        case None:
            return None
        case "auto" | "none" | "required" as mode:
            return ToolChoice(mode=mode)
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice(mode="required", names=(name,))
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(tools)}}:
            return ToolChoice(mode=mode, names=tuple(_tool_name(tool) for tool in tools))
        case {"type": "function" | "custom" as kind}:
            raise missing(f"tool_choice.{kind}.name")
        case {"type": str(hosted)}:
            return ToolChoice(mode="required", hosted=hosted)
        case _:
            raise BadRequest("'tool_choice' is not known.", param="tool_choice", code="invalid_value")


def _tool_name(tool: object) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return name
        case {"name": str(name)}:
            return name
        case _:
            raise wrong_type("tool_choice.allowed_tools.tools", "an array of tools with names")


# --- Messages in -------------------------------------------------------------------------

_MESSAGE_NAMED = frozenset(
    "role content name tool_calls tool_call_id function_call refusal "
    "reasoning_content reasoning reasoning_details".split()
)


def _decode_message(message: JsonObject, index: int) -> Message:
    at = f"messages[{index}]"
    role = _ROLES.get(message["role"])
    if role is None:
        raise BadRequest(f"'{at}.role' {message['role']!r} is not known.", param=f"{at}.role", code="invalid_value")
    content = list(_decode_content(message.get("content"), at))
    extra = {k: v for k, v in message.items() if k not in _MESSAGE_NAMED}
    name = optional_str(message, "name", f"{at}.")
    if role == "tool":
        call_id = message.get("tool_call_id") or (name if message["role"] == "function" else None)
        if not isinstance(call_id, str):
            raise missing(f"{at}.tool_call_id")
        return Message(role="tool", parts=[ToolResult(call_id=call_id, parts=content, name=name)], extra=extra)
    if role == "assistant":
        content = [*_decode_thoughts(message), *_signed(content, message), *_decode_calls(message, at)]
        if isinstance(message.get("refusal"), str):
            content.append(Refusal(text=message["refusal"]))
        if not content and isinstance(message.get("audio"), dict):  # said before, and kept by OpenAI
            content.append(Native(dialect=NAME, payload={"type": "audio", "audio": extra.pop("audio")}))
    elif message.get("content") is None:
        raise missing(f"{at}.content")
    return Message(role=role, parts=content, name=name, extra=extra)


def _decode_content(content: object, at: str) -> Iterable[Part]:
    if content is None:
        return
    if isinstance(content, str):
        yield Text(text=content)
        return
    if not isinstance(content, list):
        raise wrong_type(f"{at}.content", "a string or an array of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise wrong_type(f"{at}.content[{index}]", "an object")
        yield _decode_part(part, f"{at}.content[{index}]")


def _decode_part(part: JsonObject, at: str) -> Part:
    kind = part.get("type")
    extra = {k: v for k, v in part.items() if k not in ("type", kind)}
    match part:
        case {"type": "text", "text": str(text)}:
            return Text(text=text, extra=extra)
        case {"type": "refusal", "refusal": str(text)}:
            return Refusal(text=text)
        case {"type": "image_url", "image_url": str(url)}:  # as some hosts document it beside the object
            return Image(source=decode_url(url), extra=extra)
        case {"type": "image_url", "image_url": {"url": str(url)} as image}:
            detail = image.get("detail")
            return Image(source=decode_url(url), detail=detail if isinstance(detail, str) else None, extra=extra)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(style)}}:
            return Audio(source=InlineData(media_type=f"audio/{style}", data=data), format=style, extra=extra)
        case {"type": "file", "file": dict(file)}:
            return File(
                source=_decode_file(file, at), filename=optional_str(file, "filename", f"{at}.file."), extra=extra
            )
        case {"type": "text" | "refusal" | "image_url" | "input_audio" | "file"}:
            raise missing(f"{at}.{kind}")
        case {"type": str()}:
            return Native(dialect=NAME, payload=part)
        case _:
            raise missing(f"{at}.type")


def _decode_file(file: JsonObject, at: str) -> Source:
    match file:
        case {"file_data": str(data)}:
            if data[:5].lower() == "data:":
                return decode_url(data)
            # Without a data URL only the name indicates the type; OpenAI itself accepts PDFs.
            name = str(file.get("filename") or "").lower()
            known = name.endswith(".pdf") or "." not in name
            return InlineData(media_type="application/pdf" if known else "application/octet-stream", data=data)
        case {"file_id": str(file_id)}:
            return UploadedFile(file_id=file_id)
        case _:
            raise missing(f"{at}.file.file_data")


def _decode_thoughts(message: JsonObject) -> Iterable[Part]:
    text = message.get("reasoning_content") or message.get("reasoning")
    details = message.get("reasoning_details")
    if isinstance(text, str) or isinstance(details, list):
        extra = {"reasoning_details": details} if isinstance(details, list) else {}
        yield Reasoning(text=text if isinstance(text, str) else "", extra=extra)


def _signed(content: list[Part], message: JsonObject) -> list[Part]:
    """A message's signature is that of its last text."""
    opaque = decode_signature(message)
    if opaque is None:
        return content
    if content and isinstance(content[-1], Text):
        return [*content[:-1], replace(content[-1], opaque=opaque)]
    return [*content, Text(text="", opaque=opaque)]


def _decode_calls(message: JsonObject, at: str) -> Iterable[Part]:
    calls = message.get("tool_calls") or []
    if isinstance(message.get("function_call"), dict):
        calls = [{"id": message["function_call"].get("name"), "type": "function", "function": message["function_call"]}]
    if not isinstance(calls, list):
        raise wrong_type(f"{at}.tool_calls", "an array")
    for index, call in enumerate(calls):
        yield _decode_call(call, f"{at}.tool_calls[{index}]")


def _decode_call(call: JsonObject, at: str) -> ToolCall:
    if isinstance(call_id := call.get("id"), str):
        function, custom = call.get("function"), call.get("custom")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            arguments = function.get("arguments")
            return ToolCall(
                id=call_id,
                name=function["name"],
                arguments=arguments if isinstance(arguments, str) else "",
                opaque=decode_signature(call) or decode_signature(function),
                extra={str(k): v for k, v in call.items() if k not in _CALL_NAMED},
            )
        if isinstance(custom, dict) and isinstance(custom.get("name"), str) and isinstance(custom.get("input"), str):
            return ToolCall(id=call_id, name=custom["name"], arguments=custom["input"], kind="custom")
        kind = "custom" if isinstance(custom, dict) else "function"
        raise missing(f"{at}.{kind}.name" if isinstance(call.get(kind), dict) else f"{at}.{kind}")
    raise missing(f"{at}.id")


_CALL_NAMED = frozenset({"id", "function", "type", "index"})
