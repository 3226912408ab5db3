"""The wire format ``gemini``: ``POST /v1beta/models/{model}:generateContent`` and ``:streamGenerateContent``.

Both directions, whole and streamed. The URL names the model and the kind of response; here these are the members
``model``, ``stream`` and ``alt`` of the body, which :func:`request_body` removes again.
Source: ai.google.dev API reference; ``google-genai`` 3.x.
"""

from __future__ import annotations

from proxy_core import Dialect
from proxy_plugin_gemini.dialect.common import NAME, whole_usage
from proxy_plugin_gemini.dialect.decode import check, decode
from proxy_plugin_gemini.dialect.encode import encode, translate
from proxy_plugin_gemini.dialect.errors import FIELDS, encode_error, stream_error, whole_failure
from proxy_plugin_gemini.dialect.operations import OPERATIONS
from proxy_plugin_gemini.dialect.request import context, finish_whole, read_request, recognizes, request_body
from proxy_plugin_gemini.dialect.response_decode import GeminiDecoder
from proxy_plugin_gemini.dialect.response_encode import GeminiEncoder
from proxy_plugin_gemini.dialect.sealed import without_sealed
from proxy_plugin_gemini.dialect.usage_tap import GeminiUsageTap

__all__ = [
    "DIALECT",
    "NAME",
    "GeminiDecoder",
    "GeminiEncoder",
    "GeminiUsageTap",
    "check",
    "context",
    "decode",
    "encode",
    "read_request",
    "request_body",
    "translate",
]

DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=[
        f"{version}/models/{{model:path}}:{method}"
        for version in ("/v1beta", "/v1", "")
        for method in ("generateContent", "streamGenerateContent")
    ],
    read_request=read_request,
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    decoder=GeminiDecoder,
    encoder=GeminiEncoder,
    usage_tap=GeminiUsageTap,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=whole_usage,
    whole_failure=whole_failure,
    finish_whole=finish_whole,
    relayed=without_sealed,
    usage_key="usageMetadata",
    required=["contents"],
    reference="https://ai.google.dev/api/generate-content",
    operations=OPERATIONS,
    recognizes=recognizes,
    key_headers=["x-goog-api-key"],
    key_parameters=["key"],
    field_names=FIELDS,
)
