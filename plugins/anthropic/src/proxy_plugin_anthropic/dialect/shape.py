"""The types of a request's documented members. What a tool's schema or its input has is the client's own."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from proxy_core.dialects.shapes import many, shape

_NUMBER = int | float


@cache  # when it is needed: a proxy that only relays has no use for it
def request_shape() -> Any:
    tool = shape(type=str, name=str, description=str, input_schema=dict, strict=bool, cache_control=_cached())
    thinking = Literal["enabled", "adaptive", "disabled", "between_tools"]
    effort = Literal["low", "medium", "high", "xhigh", "max"]
    return shape(
        system=str | many(_block()),
        messages=many(shape(role=str, content=str | many(_block()))),
        max_tokens=_NUMBER,
        temperature=_NUMBER,
        top_p=_NUMBER,
        top_k=_NUMBER,
        stop_sequences=list[str],
        tools=many(tool),
        tool_choice=shape(type=Literal["auto", "any", "none", "tool"], name=str, disable_parallel_tool_use=bool),
        thinking=shape(type=thinking, budget_tokens=_NUMBER, display=Literal["summarized", "omitted"]),
        output_config=shape(effort=effort, format=shape(type=Literal["json_schema"], schema=dict)),
        metadata=shape(user_id=str),
        thread=shape(type=str, previous_message_id=str),
        service_tier=str,
        cache_control=_cached(),
    )


@cache
def _cached() -> Any:
    return shape(type=str, ttl=str)


@cache
def _block() -> Any:
    """A block of any type. Those of results and of documents are inside it; the innermost have no others."""
    text = shape(type=str, text=str, cache_control=_cached())
    inner = _with(content=str | many(text))
    return _with(content=str | many(inner) | dict)


def _with(content: Any) -> Any:
    nested = shape(type=str, media_type=str, data=str, url=str, file_id=str, content=content)
    return shape(
        type=str,
        text=str,
        source=str | nested,
        title=str,
        context=str,
        citations=list[dict[str, Any]] | shape(enabled=bool),
        thinking=str,
        signature=str,
        data=str,
        id=str,
        name=str,
        input=dict,
        tool_use_id=str,
        is_error=bool,
        content=content,
        cache_control=_cached(),
    )
