"""The wire format ``gemini``: ``POST /v1beta/models/{model}:generateContent`` and ``:streamGenerateContent``.

Both directions, whole and streamed. ``model`` and what kind of reply is wanted stand in the path;
here they are members ``model``, ``stream`` and ``alt`` of the body, which :func:`request_body` takes out again.
Source: ai.google.dev API reference; ``google-genai`` 3.x.
"""

from __future__ import annotations

import time

from proxy_core import sse
from proxy_core.dialects.common import load_object
from proxy_core.dialects.gemini_common import (
    NAME,
    decode_usage,
    encode_error,
    error_of,
    failure_of,
    field,
    stream_error,
    whole_failure,
    whole_usage,
)
from proxy_core.dialects.gemini_decode import check, decode
from proxy_core.dialects.gemini_encode import encode
from proxy_core.dialects.gemini_operations import OPERATIONS
from proxy_core.dialects.gemini_reply import GeminiDecoder
from proxy_core.dialects.gemini_reply_encode import GeminiEncoder
from proxy_core.interfaces import Dialect, ProxyRequest, RequestHead, ResponseContext
from proxy_core.messages import JsonObject, UpstreamFailure, Usage

_FROM_PATH = frozenset({"model", "stream", "alt"})
_MARKS = (b'"usageMetadata"', b'"finishReason"', b'"promptFeedback"', b'"error"')


def read_request(head: RequestHead, body: JsonObject) -> JsonObject:
    """The body, and what the address says of the request.

    A stream without ``alt=sse`` is one JSON array, which is as good with all in one object.
    """
    streams = head.path.endswith(":streamGenerateContent")
    events = streams and head.query.get("alt", head.query.get("$alt")) == "sse"
    model = head.parameters["model"].removeprefix("models/")
    return {**body, "model": model, "stream": events, "alt": "json" if streams and not events else None}


def recognizes(head: RequestHead) -> bool:
    """One of Google's clients asks: by its path, or under ``/v1`` by its headers or its key in the address."""
    if head.path.startswith("/v1beta/") or "key" in head.query:
        return True
    return "x-goog-api-key" in head.headers or "x-goog-api-client" in head.headers


def request_body(body: JsonObject) -> JsonObject:
    """What goes upstream of a body: everything that does not stand in the address."""
    return {name: value for name, value in body.items() if name not in _FROM_PATH}


def context(request: ProxyRequest) -> ResponseContext:
    config = field(request.body, "generationConfig")
    config = config if isinstance(config, dict) else {}
    thinking = field(config, "thinkingConfig")
    n = field(config, "candidateCount")
    return ResponseContext(
        id=request.id,
        model=request.model,
        stream=request.stream,
        include_usage=True,
        created=int(time.time()),
        expected_choices=n if isinstance(n, int) and n > 0 else 1,
        extra={
            "thoughts": isinstance(thinking, dict) and field(thinking, "includeThoughts") is True,
            "array": request.body.get("alt") == "json",
        },
    )


def finish_whole(data: bytes, body: JsonObject) -> bytes:
    return b"[" + data + b"]" if body.get("alt") == "json" else data


class GeminiMeter:
    """Watches a relayed stream; what passes is not changed."""

    __slots__ = ("_finished", "_provider", "_wanted", "failure", "usage")

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._wanted = context.expected_choices
        self._finished: set[object] = set()
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        return len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        if not any(mark in block for mark in _MARKS):
            return block
        passed = 0
        for raw in sse.split(block):
            self._look(raw)
            if self.failure is not None:
                return block[:passed]
            passed += len(raw)
        return block

    def close(self) -> bytes:
        return b""

    def _look(self, raw: bytes) -> None:
        if not any(mark in raw for mark in _MARKS):
            return
        event = sse.parse(raw)
        chunk = load_object(raw if event is None else event.data)
        if chunk is None:
            return
        error = None if "candidates" in chunk else error_of(chunk)
        if error is not None:
            self.failure = failure_of(self._provider, error)
            return
        self.usage = decode_usage(chunk.get("usageMetadata")) or self.usage
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict) and candidate.get("finishReason"):
                self._finished.add(candidate.get("index", 0))
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._finished.update(range(self._wanted))


DIALECT = Dialect(
    name=NAME,
    family="chat",
    paths=[
        f"/{version}/models/{{model:path}}:{method}"
        for version in ("v1beta", "v1")
        for method in ("generateContent", "streamGenerateContent")
    ],
    read_request=read_request,
    check=check,
    context=context,
    decode=decode,
    encode=encode,
    decoder=GeminiDecoder,
    encoder=GeminiEncoder,
    usage_tap=GeminiMeter,
    encode_error=encode_error,
    stream_error=stream_error,
    whole_usage=whole_usage,
    whole_failure=whole_failure,
    finish_whole=finish_whole,
    usage_key="usageMetadata",
    operations=OPERATIONS,
    recognizes=recognizes,
    key_headers=["x-goog-api-key"],
    key_parameters=["key"],
)
