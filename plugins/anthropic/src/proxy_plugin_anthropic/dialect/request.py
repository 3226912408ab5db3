"""The parts of a request outside its body, and the facts about it that its response depends on."""

from __future__ import annotations

import time

from proxy_core import JsonObject, ProxyRequest, RequestHead, ResponseContext
from proxy_core.dialects.common import check_stream, missing, require_model, wrong_type
from proxy_core.dialects.model_name import renamed
from proxy_plugin_anthropic.dialect.common import continues_thread
from proxy_plugin_anthropic.dialect.headers import read_headers, written_model

_ROLES = ("user", "assistant", "system")


def read_request(head: RequestHead, body: JsonObject) -> JsonObject:
    """The body, with what the headers add to it and the model's plain name."""
    return read_headers(head, body)


def recognizes(head: RequestHead) -> bool:
    """Whether one of Anthropic's clients sent this."""
    return "anthropic-version" in head.headers or "anthropic-beta" in head.headers


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for a body that no upstream could read; the upstream checks the rest."""
    require_model(body)
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list) or not (messages or continues_thread(body)):
        raise wrong_type("messages", "a non-empty array")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_type(f"messages.{index}", "an object")
        if message.get("role") not in _ROLES:
            raise wrong_type(f"messages.{index}.role", "'user' or 'assistant'")
        if not isinstance(message.get("content"), str | list):
            raise wrong_type(f"messages.{index}.content", "a string or an array of blocks")
    check_stream(body)


def context(request: ProxyRequest) -> ResponseContext:
    stops = request.body.get("stop_sequences")
    return ResponseContext(
        id=f"msg_{request.id}",
        model=written_model(request.body),
        stream=request.stream,
        include_usage=True,
        created=int(time.time()),
        extra={"stop_sequences": stops if isinstance(stops, list) else ()},
    )


def finish_whole(response: bytes, body: JsonObject) -> bytes:
    return renamed(response, "model", written_model(body))
