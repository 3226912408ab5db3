"""The wire format ``openai_responses``: ``POST /v1/responses``, plain and streamed.

Source: ``openai-python`` 3.x types ``responses`` and its stream accumulator; Codex 0.171.
"""

from __future__ import annotations

from proxy_core import Dialect
from proxy_core.dialects.model_name import finish_whole
from proxy_plugin_openai_responses.dialect.common import MAKER, NAME
from proxy_plugin_openai_responses.dialect.decode import decode
from proxy_plugin_openai_responses.dialect.encode import dropped, encode
from proxy_plugin_openai_responses.dialect.errors import FIELDS, encode_error, stream_error
from proxy_plugin_openai_responses.dialect.failed import whole_failure
from proxy_plugin_openai_responses.dialect.follower import HEARTBEAT, ResponsesFollower
from proxy_plugin_openai_responses.dialect.operations import OPERATIONS
from proxy_plugin_openai_responses.dialect.request import check, context, relayed
from proxy_plugin_openai_responses.dialect.response_decode import ResponsesDecoder
from proxy_plugin_openai_responses.dialect.response_encode import ResponsesEncoder
from proxy_plugin_openai_responses.dialect.usage import whole_usage
from proxy_plugin_openai_responses.dialect.usage_tap import ResponsesUsageTap

__all__ = [
    "DIALECT",
    "NAME",
    "ResponsesDecoder",
    "ResponsesEncoder",
    "ResponsesUsageTap",
    "check",
    "context",
    "decode",
    "encode",
]

DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=("/v1/responses", "/responses"),
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    dropped=dropped,
    decoder=ResponsesDecoder,
    encoder=ResponsesEncoder,
    usage_tap=ResponsesUsageTap,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=whole_usage,
    whole_failure=whole_failure,
    relayed=relayed,
    finish_whole=finish_whole,
    heartbeat=HEARTBEAT,
    required=["model", "input"],
    reference="https://platform.openai.com/docs/api-reference/responses/create",
    follower=ResponsesFollower,
    operations=OPERATIONS,
    base_path="/v1",
    maker=MAKER,
    field_names=FIELDS,
)
