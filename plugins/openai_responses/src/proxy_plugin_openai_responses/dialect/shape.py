"""The types of a request's documented members. What a tool's schema has is the client's own."""

from __future__ import annotations

from functools import cache
from typing import Any

from proxy_core.dialects.shapes import many, shape

_NUMBER = int | float
_TEXTS = "instructions truncation user service_tier prompt_cache_key safety_identifier previous_response_id".split()


@cache  # when it is needed: a proxy that only relays has no use for it
def request_shape() -> Any:
    form = shape(type=str, name=str, description=str, schema=dict, strict=bool)
    tools = many(_tool(many(_tool(list))))
    return shape(
        input=str | many(_item(tools)),
        tools=tools,
        tool_choice=str | shape(type=str, name=str, mode=str, tools=list),
        parallel_tool_calls=bool,
        max_output_tokens=_NUMBER,
        temperature=_NUMBER,
        top_p=_NUMBER,
        top_logprobs=_NUMBER,
        reasoning=shape(effort=str, summary=str, generate_summary=str),
        text=shape(format=form, verbosity=str),
        include=list[str],
        metadata=dict,
        store=bool,
        stream_options=shape(include_obfuscation=bool),
        **dict.fromkeys(_TEXTS, str),
    )


def _tool(tools: Any) -> Any:
    form = shape(type=str, syntax=str, definition=str)
    return shape(type=str, name=str, description=str, parameters=dict, strict=bool, format=form, tools=tools)


def _item(tools: Any) -> Any:
    """An item of any type. ``action`` and the like of built-in tools are their own."""
    thought = shape(type=str, text=str)
    part = shape(
        type=str,
        text=str,
        refusal=str,
        image_url=str,
        detail=str,
        file_data=str,
        file_id=str,
        file_url=str,
        filename=str,
        input_audio=shape(data=str, format=str),
    )
    return shape(
        type=str,
        role=str,
        content=str | many(part),
        phase=str,
        summary=many(thought),
        encrypted_content=str,
        call_id=str,
        name=str,
        namespace=str,
        arguments=str | dict,
        input=str,
        tools=tools,
    )
