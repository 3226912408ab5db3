"""The wire format ``gemini``: ``POST /v1beta/models/{model}:generateContent`` and ``:streamGenerateContent``.

Both directions, whole and streamed. ``model`` and what kind of reply is wanted stand in the path;
here they are members ``model``, ``stream`` and ``alt`` of the body, which :func:`request_body` takes out again.
Source: ai.google.dev API reference; ``google-genai`` 3.x.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from proxy_core import sse
from proxy_core.dialects.common import load_object, missing, require_model, wrong_type
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
from proxy_core.dialects.gemini_decode import decode
from proxy_core.dialects.gemini_encode import encode
from proxy_core.dialects.gemini_reply import GeminiDecoder
from proxy_core.dialects.gemini_reply_encode import GeminiEncoder
from proxy_core.errors import NotFound
from proxy_core.interfaces import Dialect, ProxyRequest, ResponseContext
from proxy_core.messages import JsonObject, UpstreamFailure, Usage

_FROM_PATH = frozenset({"model", "stream", "alt"})
_MARKS = (b'"usageMetadata"', b'"finishReason"', b'"promptFeedback"', b'"error"')


def read_path(path: Mapping[str, str], query: Mapping[str, str]) -> JsonObject:
    """What the address says of the request. Raises ``NotFound`` for methods that are not served.

    A stream without ``alt=sse`` is one JSON array, which is as good with all in one object.
    """
    method = path["method"]
    if method not in ("generateContent", "streamGenerateContent"):
        raise NotFound(f"The method {method!r} is not available here.")
    streams = method == "streamGenerateContent"
    events = streams and query.get("alt", query.get("$alt")) == "sse"
    model = path["model"].removeprefix("models/")
    return {"model": model, "stream": events, "alt": "json" if streams and not events else None}


def request_body(body: JsonObject) -> JsonObject:
    """What goes upstream of a body: everything that does not stand in the address."""
    return {name: value for name, value in body.items() if name not in _FROM_PATH}


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for what no upstream could read; the rest is the upstream's to judge."""
    require_model(body)
    contents = body.get("contents")
    if contents is None:
        raise missing("contents")
    if not isinstance(contents, list) or not contents:
        raise wrong_type("contents", "a non-empty array")
    for index, content in enumerate(contents):
        if not isinstance(content, dict):
            raise wrong_type(f"contents[{index}]", "an object")
        if not isinstance(content.get("parts"), list | None):
            raise wrong_type(f"contents[{index}].parts", "an array")


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
    paths=("/v1beta/models/{model:path}:{method}", "/v1/models/{model:path}:{method}"),
    read_path=read_path,
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
)
