"""Requests of the wire format ``openai_chat``: neutral values to the JSON that an upstream reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import assert_never

from proxy_core.dialects.common import flat_name, json_bytes, left_out, misplaced, with_contexts, without_none
from proxy_core.dialects.openai_chat.plain import plain_messages
from proxy_core.errors import BadRequest
from proxy_core.messages import (
    Audio,
    ChatRequest,
    CustomTool,
    File,
    FunctionTool,
    HostedTool,
    Image,
    InlineData,
    JsonObject,
    Link,
    Message,
    Native,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    UploadedFile,
)

NAME = "openai_chat"


def encode(chat: ChatRequest) -> JsonObject:
    """Convert neutral values to a body for an OpenAI-compatible upstream. Raises ``BadRequest``."""
    s = chat.sampling
    own = chat.dialect == NAME
    tools = [encoded for tool in chat.tools for encoded in _encode_tool(tool, own=own)]
    body = without_none(
        model=chat.model,
        messages=encode_messages(chat),
        stream=True if chat.stream else None,
        stream_options={"include_usage": True} if chat.stream and chat.include_usage else None,
        max_completion_tokens=s.max_tokens,
        temperature=s.temperature,
        top_p=s.top_p,
        top_k=s.top_k,
        stop=list(s.stop) or None,
        seed=s.seed,
        presence_penalty=s.presence_penalty,
        frequency_penalty=s.frequency_penalty,
        logit_bias=s.logit_bias,
        logprobs=s.logprobs,
        top_logprobs=s.top_logprobs,
        n=s.n,
        response_format=_encode_format(chat.response_format),
        tools=tools or None,
        tool_choice=_encode_tool_choice(chat, bool(tools)),
        parallel_tool_calls=chat.parallel_tool_calls if tools else None,
        reasoning_effort=chat.reasoning.effort if chat.reasoning else None,
        verbosity=chat.verbosity,
        modalities=list(chat.modalities) or None,
        user=chat.user,
        metadata=chat.metadata,
        store=chat.store,
        service_tier=chat.service_tier,
        prompt_cache_key=chat.cache_key,
    )
    return {**chat.extra, **body} if own else body


def encode_messages(chat: ChatRequest, cached: Collection[str] = ()) -> list[JsonObject]:
    """``cached``: roles in whose texts the server understands another format's marks for its cache."""
    own = chat.dialect == NAME
    messages = chat.messages if own else plain_messages(chat.messages, cached)
    return [encoded for message in messages for encoded in _encode_message(message, own=own)]


def _encode_format(wanted: ResponseFormat | None) -> JsonObject | None:
    if wanted is None:
        return None
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    spec = without_none(
        name=wanted.name or "reply", schema=wanted.schema, description=wanted.description, strict=wanted.strict
    )
    return {"type": "json_schema", "json_schema": spec}


def dropped(chat: ChatRequest) -> list[str]:
    """The fields that :func:`encode` leaves out: only the client's own format has them."""
    return [*unsent_tools(chat), *(chat.extra if chat.dialect != NAME else ())]


def unsent_tools(chat: ChatRequest) -> list[str]:
    """The tools that :func:`encode` leaves out: those that another vendor runs."""
    return [f"tools[].{tool.name}" for tool in chat.tools if isinstance(tool, HostedTool) and tool.dialect != NAME]


def _encode_tool(tool: Tool, *, own: bool) -> Iterable[JsonObject]:
    """``own``: a tool of a chat client. Few upstreams have custom tools, so those of other clients become functions."""
    match tool:
        case FunctionTool():
            spec = without_none(
                name=flat_name(tool.name, tool.namespace),
                description=tool.description,
                parameters=tool.parameters,
                strict=tool.strict,
            )
            function = {**tool.extra.get("function", {}), **spec}
            yield {**tool.extra.get("tool", {}), "type": "function", "function": function}
        case CustomTool() if own:
            style = {"type": "grammar", "grammar": tool.grammar} if tool.grammar else None
            spec = without_none(name=tool.name, description=tool.description, format=style)
            yield {**tool.extra.get("tool", {}), "type": "custom", "custom": spec}
        case CustomTool():
            yield {"type": "function", "function": _as_function(tool)}
        case HostedTool():
            if tool.dialect == NAME:
                yield dict(tool.payload)
            else:
                left_out(tool)
        case _:
            assert_never(tool)


def _as_function(tool: CustomTool) -> JsonObject:
    """With the tool's text as its only argument; a grammar can only be described in words."""
    description = tool.description or ""
    if tool.grammar:
        rule = f"The input must follow this {tool.grammar.get('syntax')} grammar:\n{tool.grammar.get('definition')}"
        description = f"{description}\n\n{rule}".strip()
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    name = flat_name(tool.name, tool.namespace)
    return without_none(name=name, description=description or None, parameters=schema)


def _encode_tool_choice(chat: ChatRequest, any_tools: bool) -> object:
    """Raises ``BadRequest`` if a tool is forced that is not sent."""
    choice = chat.tool_choice
    if choice is None:
        return None
    if chat.dialect == NAME and choice.hosted is not None:
        return {"type": choice.hosted}
    if choice.hosted is not None or (choice.mode == "required" and not any_tools and unsent_tools(chat)):
        forced = choice.hosted or "that was sent"
        raise BadRequest(f"This model does not support forcing the tool {forced!r}.", param="tool_choice")
    if not any_tools and chat.dialect != NAME:
        return None
    if not choice.names:
        return choice.mode
    named = [_named(chat, name) for name in choice.names]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _named(chat: ChatRequest, name: str) -> JsonObject:
    found = [tool for tool in chat.tools if isinstance(tool, FunctionTool | CustomTool) and tool.name == name]
    if any(isinstance(tool, CustomTool) for tool in found) and chat.dialect == NAME:
        return {"type": "custom", "custom": {"name": name}}
    return {"type": "function", "function": {"name": flat_name(name, found[0].namespace if found else None)}}


def _encode_message(message: Message, *, own: bool) -> Iterable[JsonObject]:
    if message.role == "tool":
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield {
                    **message.extra,
                    **without_none(role="tool", tool_call_id=part.call_id, name=part.name),
                    "content": _encode_result(part),
                }
        return
    out: JsonObject = {**message.extra, "role": message.role}
    if message.name is not None:
        out["name"] = message.name
    content, calls = [], []
    for part in with_contexts(message.parts):
        match part:
            case ToolCall():
                calls.append(_encode_call(part, own=own))
            case Reasoning():
                out.update(_encode_thought(part))
            case Refusal():
                out["refusal"] = part.text
            case Native(dialect="openai_chat", payload={"type": "audio"}) if message.role == "assistant":
                out["audio"] = part.payload["audio"]
            case _:
                content.append(_encode_part(part))
    if calls:
        out["tool_calls"] = calls
    if content or not calls:
        out["content"] = _join(content)
    yield out


def _join(content: list[JsonObject]) -> object:
    """A single plain text becomes a string, which most upstreams and their templates prefer."""
    if not content:
        return ""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return content[0]["text"]
    return content


def _encode_result(result: ToolResult) -> object:
    text = [_encode_part(part) for part in with_contexts(result.parts)]
    joined = _join(text)
    if result.is_error and isinstance(joined, str) and not joined.startswith("Error: "):
        return f"Error: {joined}"
    return joined


def _encode_call(call: ToolCall, *, own: bool) -> JsonObject:
    if call.kind == "custom" and own:
        return {**call.extra, "id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    arguments = call.arguments or "{}"
    if call.kind == "custom":
        arguments = json_bytes({"input": call.arguments}).decode()
    function = {"name": flat_name(call.name, call.namespace), "arguments": arguments}
    return {**call.extra, "id": call.id, "type": "function", "function": function}


def _encode_thought(part: Reasoning) -> JsonObject:
    out: JsonObject = {"reasoning_content": part.text} if part.text else {}
    if part.extra.get("reasoning_details"):
        out["reasoning_details"] = part.extra["reasoning_details"]
    return out


def _encode_part(part: Part) -> JsonObject:
    match part:
        case Text():
            return {**part.extra, "type": "text", "text": part.text}
        case Image():
            return {
                **part.extra,
                "type": "image_url",
                "image_url": without_none(url=_url(part.source), detail=part.detail),
            }
        case Audio(source=InlineData(data=data)):
            return {**part.extra, "type": "input_audio", "input_audio": {"data": data, "format": part.format or "wav"}}
        case File():
            file = without_none(**_file(part.source), filename=part.filename or part.title)
            return {**part.extra, "type": "file", "file": file}
        case Native(dialect=dialect) if dialect == NAME:
            return dict(part.payload)
        case _:
            raise misplaced(part)


def _url(source: Source) -> str:
    match source:
        case InlineData():
            return f"data:{source.media_type};base64,{source.data}"
        case Link():
            return source.url
        case UploadedFile():
            raise BadRequest("Images by file id are not available for this model.", param="messages")
        case _:
            assert_never(source)


def _file(source: Source) -> JsonObject:
    if isinstance(source, Link):
        raise BadRequest("Documents by address are not available for this model.", param="messages")
    return {"file_id": source.file_id} if isinstance(source, UploadedFile) else {"file_data": _url(source)}
