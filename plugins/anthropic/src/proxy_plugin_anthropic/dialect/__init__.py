"""The wire format ``anthropic_messages``: ``POST /v1/messages``, plain and streamed.

Source: docs.claude.com API reference; ``anthropic`` 2.x.
"""

from __future__ import annotations

from proxy_core import Dialect, JsonObject, UpstreamFailure, Usage
from proxy_plugin_anthropic.dialect.common import MAKER, NAME
from proxy_plugin_anthropic.dialect.decode import decode
from proxy_plugin_anthropic.dialect.errors import encode_error, stream_error
from proxy_plugin_anthropic.dialect.operations import OPERATIONS
from proxy_plugin_anthropic.dialect.request import check, context, read_request, recognizes
from proxy_plugin_anthropic.dialect.response_encode import HEARTBEAT, AnthropicEncoder

__all__ = [
    "DIALECT",
    "MAKER",
    "NAME",
    "AnthropicEncoder",
    "check",
    "context",
    "decode",
    "read_request",
]


def _no_usage(body: JsonObject) -> Usage | None:
    return None


def _no_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    return None


DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=["/v1/messages", "/messages"],
    read_request=read_request,
    check=check,
    context=context,
    decode=decode,
    encoder=AnthropicEncoder,
    prompt_first=True,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=_no_usage,
    whole_failure=_no_failure,
    heartbeat=HEARTBEAT,
    operations=OPERATIONS,
    recognizes=recognizes,
)
