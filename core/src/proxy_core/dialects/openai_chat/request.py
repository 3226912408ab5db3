"""Checks a request, and extracts what its response depends on."""

from __future__ import annotations

import time

from proxy_core.dialects.common import check_stream, missing, require_model, wrong_type
from proxy_core.interfaces import ProxyRequest, ResponseContext
from proxy_core.messages import JsonObject


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for a body that no upstream could read; the upstream checks the rest."""
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
        # A client that declares functions in the old form reads calls in the old form.
        extra={"functions": True} if request.body.get("functions") and not request.body.get("tools") else {},
    )
