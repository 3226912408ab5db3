"""The wire format ``openai_chat``: ``POST /v1/chat/completions``, plain and streamed, both directions.

Source: ``openai-python`` 3.x types ``chat.completion``, ``chat.completion.chunk`` and its stream reader.
Reasoning is read as ``reasoning_content``, ``reasoning`` or ``reasoning_details`` and written as
``reasoning_content``; signatures ride in ``reasoning_details``.
"""

from __future__ import annotations

import time

from proxy_core.dialects import openai_common as shared
from proxy_core.dialects.common import (
    check_stream,
    missing,
    require_model,
    wrong_type,
)
from proxy_core.dialects.openai_chat.condense import condensed
from proxy_core.dialects.openai_chat.decode import decode
from proxy_core.dialects.openai_chat.encode import encode
from proxy_core.dialects.openai_chat.operations import OPERATIONS
from proxy_core.dialects.openai_chat.response import OpenAIChatDecoder, OpenAIChatEncoder
from proxy_core.interfaces import Dialect, ProxyRequest, ResponseContext
from proxy_core.messages import (
    JsonObject,
)

__all__ = ["DIALECT", "NAME", "OpenAIChatDecoder", "OpenAIChatEncoder", "check", "context", "decode", "encode"]

NAME = "openai_chat"


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for what no upstream could read; the rest is the upstream's to judge."""
    require_model(body)
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong_type("messages", "a non-empty array")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_type(f"messages[{index}]", "an object")
        if not isinstance(message.get("role"), str):
            raise missing(f"messages[{index}].role")
    check_stream(body)


def context(request: ProxyRequest) -> ResponseContext:
    n = request.body.get("n")
    return ResponseContext(
        id=f"chatcmpl-{request.id}",
        model=request.model,
        stream=request.stream,
        include_usage=bool((request.body.get("stream_options") or {}).get("include_usage")),
        created=int(time.time()),
        expected_choices=n if isinstance(n, int) and n > 0 else 1,
    )


DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=("/v1/chat/completions", "/chat/completions"),
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    decoder=OpenAIChatDecoder,
    encoder=OpenAIChatEncoder,
    usage_tap=shared.OpenAIUsageTap,
    encode_error=shared.encode_error,
    stream_error=shared.stream_error,
    whole_usage=shared.whole_usage,
    whole_failure=shared.whole_failure,
    heartbeat=shared.HEARTBEAT,
    condense=condensed,
    operations=OPERATIONS,
)
