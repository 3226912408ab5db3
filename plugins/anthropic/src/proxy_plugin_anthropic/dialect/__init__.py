"""The wire format ``anthropic_messages``: ``POST /v1/messages``, plain and streamed, both directions.

Source: docs.claude.com API reference; ``anthropic`` 2.x.
"""

from __future__ import annotations

from proxy_core import Dialect
from proxy_plugin_anthropic.dialect.common import MAKER, NAME
from proxy_plugin_anthropic.dialect.decode import decode
from proxy_plugin_anthropic.dialect.encode import encode, translate
from proxy_plugin_anthropic.dialect.errors import FIELDS, encode_error, stream_error
from proxy_plugin_anthropic.dialect.operations import OPERATIONS
from proxy_plugin_anthropic.dialect.request import check, context, finish_whole, read_request, recognizes
from proxy_plugin_anthropic.dialect.response_decode import AnthropicDecoder
from proxy_plugin_anthropic.dialect.response_encode import HEARTBEAT, AnthropicEncoder
from proxy_plugin_anthropic.dialect.usage import whole_usage
from proxy_plugin_anthropic.dialect.usage_tap import AnthropicUsageTap, whole_failure

__all__ = [
    "DIALECT",
    "MAKER",
    "NAME",
    "AnthropicDecoder",
    "AnthropicEncoder",
    "AnthropicUsageTap",
    "check",
    "context",
    "decode",
    "encode",
    "read_request",
    "translate",
]


DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=["/v1/messages", "/messages"],
    read_request=read_request,
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    decoder=AnthropicDecoder,
    encoder=AnthropicEncoder,
    usage_tap=AnthropicUsageTap,
    prompt_first=True,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=whole_usage,
    whole_failure=whole_failure,
    finish_whole=finish_whole,
    heartbeat=HEARTBEAT,
    operations=OPERATIONS,
    recognizes=recognizes,
    field_names=FIELDS,
    required=["model", "max_tokens", "messages"],
    reference="https://docs.anthropic.com/en/api/messages",
)
