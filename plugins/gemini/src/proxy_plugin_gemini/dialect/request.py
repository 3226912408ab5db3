"""What stands outside of a request's body, and what its response has to know of it."""

from __future__ import annotations

import time

from proxy_core import JsonObject, ProxyRequest, RequestHead, ResponseContext
from proxy_plugin_gemini.dialect.common import field

_FROM_PATH = frozenset({"model", "stream", "alt"})


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
