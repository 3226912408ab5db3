"""The types of a request's documented members. What a tool's schema has is the client's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from proxy_core.dialects.shapes import many, shape

_NUMBER = int | float


@cache  # when it is needed: a proxy that only relays has no use for it
def request_shape() -> Any:
    named = shape(name=str)
    function = shape(name=str, description=str, parameters=dict, strict=bool)
    grammar = shape(syntax=str, definition=str)
    custom = shape(name=str, description=str, format=shape(type=str, grammar=grammar))
    schema = shape(name=str, description=str, schema=dict, strict=bool)
    choice = shape(type=str, function=named, custom=named, allowed_tools=shape(mode=str, tools=list[dict[str, Any]]))
    return shape(
        messages=many(_message()),
        tools=many(shape(type=str, function=function, custom=custom)),
        functions=many(function),
        tool_choice=str | choice,
        function_call=str | named,
        parallel_tool_calls=bool,
        response_format=shape(type=str, json_schema=schema),
        modalities=list[str],
        metadata=dict,
        stop=str | list[str],
        stream_options=shape(include_usage=bool),
        **dict.fromkeys(_TEXTS, str),
        **dict.fromkeys(_NUMBERS, _NUMBER),
    )


_TEXTS = "reasoning_effort verbosity user service_tier prompt_cache_key safety_identifier".split()
_NUMBERS = (
    "max_completion_tokens max_tokens temperature top_p top_k seed n presence_penalty frequency_penalty top_logprobs"
).split()


def _message() -> Any:
    part = shape(
        type=str,
        text=str,
        refusal=str,
        image_url=str | shape(url=str, detail=str),
        input_audio=shape(data=str, format=str),
        file=shape(file_data=str, file_id=str, filename=str),
        cache_control=shape(type=str, ttl=str),
    )
    call = shape(id=str, type=str, function=shape(name=str, arguments=str), custom=shape(name=str, input=str))
    return shape(
        role=str,
        content=str | many(part),
        name=str,
        tool_call_id=str,
        tool_calls=many(call),
        function_call=shape(name=str, arguments=str),
        refusal=str,
        reasoning_content=str,
        reasoning=str,
        reasoning_details=list,
    )
