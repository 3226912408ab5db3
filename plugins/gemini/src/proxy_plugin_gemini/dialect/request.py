"""The parts of a request outside its body, and the facts about it that its response depends on."""

from __future__ import annotations

import time

from proxy_core import JsonObject, ProxyRequest, RequestHead, ResponseContext
from proxy_core.dialects.model_name import renamed
from proxy_plugin_gemini.dialect.common import field

_FROM_PATH = frozenset({"model", "stream", "alt"})


def read_request(head: RequestHead, body: JsonObject) -> JsonObject:
    """The body, completed with the facts in the URL.

    A stream without ``alt=sse`` is a JSON array, which may as well hold a single object; it is therefore not streamed.
    """
    streams = head.path.endswith(":streamGenerateContent")
    events = streams and head.query.get("alt", head.query.get("$alt")) == "sse"
    model = head.parameters["model"].removeprefix("models/")
    return {**body, "model": model, "stream": events, "alt": "json" if streams and not events else None}


def recognizes(head: RequestHead) -> bool:
    """Whether one of Google's clients sent this, judging by the path, or, below ``/v1``, by headers or a key in the
    URL."""
    if head.path.startswith("/v1beta/") or "key" in head.query:
        return True
    return "x-goog-api-key" in head.headers or "x-goog-api-client" in head.headers


def request_body(body: JsonObject) -> JsonObject:
    """The part of a body that goes upstream: everything that is not in the URL."""
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
    data = renamed(data, "modelVersion", body["model"])
    return b"[" + data + b"]" if body.get("alt") == "json" else data
