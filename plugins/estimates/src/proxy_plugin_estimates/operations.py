"""``POST /v1/token-count`` and ``POST /v1/cost-estimate``: the size and cost of a request, without making it.

Neither counts as a request of the client, but its allowed models apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core import BadRequest, JsonObject, Operation, OperationRequest, OperationResponse, OperationServices, Usage
from proxy_core.dialects.common import missing, prices_per_token, require_model, wrong_type

_COUNTS = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens")


async def count(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"model", "text"}`` or ``{"model", "messages", "tools"?}`` (OpenAI's chat shape) to
    ``{"token_count", "exact", "source", "model", "note"?}``. Raises ``BadRequest``, ``ModelNotFound``."""
    model = _model(request.body, ("model", "text", "messages", "tools"))
    found = await services.count(model, **_counted(request.body))
    counted = {"token_count": found.tokens, "exact": found.exact, "source": found.source, "model": model}
    return OperationResponse(body={**counted, "note": found.note} if found.note else counted)


async def cost(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"model", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens"}``
    to ``{"model", "cost", "currency", "pricing", "source", "reason"?}``; ``pricing`` is per token.

    ``prompt_tokens`` excludes tokens read from a cache or written to one.
    Raises ``BadRequest``, ``ModelNotFound``.
    """
    model = _model(request.body, ("model", *_COUNTS))
    found = await services.cost(model, _usage(request.body))
    response: JsonObject = {
        "model": model,
        "cost": found.cost,
        "currency": "USD",
        "pricing": None,
        "source": found.source,
    }
    if found.cost is None:
        response["reason"] = f"Neither settings nor a catalog have a price for {found.deployment!r}."
    else:
        response["pricing"] = prices_per_token(found.prices)
    return OperationResponse(body=response)


OPERATIONS = (
    Operation(paths=["/v1/token-count", "/token-count"], answer=count, methods=["POST"]),
    Operation(paths=["/v1/cost-estimate", "/cost-estimate"], answer=cost, methods=["POST"]),
)


def _model(body: JsonObject, known: Sequence[str]) -> str:
    model = require_model(body)
    for name in body:
        if name not in known:
            raise BadRequest(f"Unknown field {name!r}; the fields are {', '.join(known)}.", param=name)
    return model


def _counted(body: JsonObject) -> dict[str, Any]:
    """The arguments of ``count``. Raises ``BadRequest`` naming the field."""
    text, messages, tools = body.get("text"), body.get("messages"), body.get("tools")
    if text is not None and messages is not None:
        raise BadRequest("Send either 'text' or 'messages', not both.", param="messages")
    if text is not None:
        if not isinstance(text, str):
            raise wrong_type("text", "a string")
        if tools is not None:
            raise BadRequest("'tools' require 'messages'.", param="tools")
        return {"text": text}
    if messages is None:
        raise missing("messages")
    return {"messages": _messages(messages), "tools": _objects(tools or [], "tools")}


def _messages(value: Any) -> list[JsonObject]:
    messages = _objects(value, "messages")
    for index, message in enumerate(messages):
        content, name = message.get("content"), f"messages[{index}].content"
        if isinstance(content, list):
            _objects(content, name)
        elif content is not None and not isinstance(content, str):
            raise wrong_type(name, "a string or a list of parts")
        if not isinstance(message.get("role"), str):
            raise wrong_type(f"messages[{index}].role", "a string")
        if message.get("tool_calls") is not None:
            _objects(message["tool_calls"], f"messages[{index}].tool_calls")
    return messages


def _objects(value: Any, param: str) -> list[JsonObject]:
    if not isinstance(value, list):
        raise wrong_type(param, "a list of objects")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_type(f"{param}[{index}]", "an object")
    return value


def _usage(body: Mapping[str, Any]) -> Usage:
    """Raises ``BadRequest`` naming the field. A missing count is 0."""
    counts = {name: body.get(name) or 0 for name in _COUNTS}
    for name, value in ((n, body[n]) for n in _COUNTS if body.get(n) is not None):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
            raise wrong_type(name, "a non-negative integer")
    prompt, completion, cached, written = (counts[name] for name in _COUNTS)
    return Usage(prompt=prompt + cached + written, completion=completion, cached=cached, cache_write=written)
