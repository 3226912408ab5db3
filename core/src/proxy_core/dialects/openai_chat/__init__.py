"""The wire format ``openai_chat``: ``POST /v1/chat/completions``, plain and streamed, both directions.

Source: ``openai-python`` 3.x types ``chat.completion``, ``chat.completion.chunk`` and its stream reader.
Reasoning is read as ``reasoning_content``, ``reasoning`` or ``reasoning_details`` and written as
``reasoning_content``; signatures are carried in ``reasoning_details``.
"""

from __future__ import annotations

from proxy_core.dialects.model_name import finish_whole
from proxy_core.dialects.openai_chat.condense import condensed
from proxy_core.dialects.openai_chat.decode import decode
from proxy_core.dialects.openai_chat.encode import dropped, encode, encode_messages
from proxy_core.dialects.openai_chat.errors import encode_error, error_object, stream_error, whole_failure
from proxy_core.dialects.openai_chat.media import left_out_note, media_event, media_in
from proxy_core.dialects.openai_chat.operations import OPERATIONS
from proxy_core.dialects.openai_chat.request import check, context
from proxy_core.dialects.openai_chat.response_decode import MAX_EVENT_BYTES, NAME, OpenAIChatDecoder
from proxy_core.dialects.openai_chat.response_encode import HEARTBEAT, OpenAIChatEncoder
from proxy_core.dialects.openai_chat.usage import usage_in
from proxy_core.dialects.openai_chat.usage_tap import OpenAIUsageTap
from proxy_core.interfaces import Dialect

__all__ = [
    "DIALECT",
    "MAX_EVENT_BYTES",
    "NAME",
    "OpenAIChatDecoder",
    "OpenAIChatEncoder",
    "OpenAIUsageTap",
    "check",
    "context",
    "decode",
    "encode",
    "encode_messages",
    "error_object",
    "left_out_note",
    "media_event",
    "media_in",
]

DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=("/v1/chat/completions", "/chat/completions"),
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    dropped=dropped,
    decoder=OpenAIChatDecoder,
    encoder=OpenAIChatEncoder,
    usage_tap=OpenAIUsageTap,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=usage_in,
    whole_failure=whole_failure,
    finish_whole=finish_whole,
    heartbeat=HEARTBEAT,
    condense=condensed,
    operations=OPERATIONS,
    base_path="/v1",
    key_headers=["api-key"],
    required=["model", "messages"],
    reference="https://platform.openai.com/docs/api-reference/chat/create",
)
