"""``POST /v1/token-count`` and ``POST /v1/cost-estimate``: the size and cost of a request, without making it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy_core.dialects.common import missing, parse_body, prices_per_token, require_model, wrong_type
from proxy_core.errors import BadRequest
from proxy_core.interfaces import CountTokens, Deployment, ModelInfo
from proxy_core.messages import JsonObject, Usage
from proxy_core.models.pricing import Prices, with_price
from proxy_core.models.routing import Router
from proxy_core.models.token_count import TokenCounting
from proxy_core.server.auth import ClientKeys
from proxy_core.server.bodies import read_body
from proxy_core.server.info import json_response
from proxy_core.state.budgets import Budgets

_COUNTS = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The endpoints. Neither counts as a request of the client, but its allowed models apply."""

    keys: ClientKeys
    budgets: Budgets
    router: Router
    counting: TokenCounting
    prices: Prices
    max_body_bytes: int

    async def count(self, request: Request) -> Response:
        """``{"model", "text"}`` or ``{"model", "messages", "tools"?}`` (OpenAI's chat shape) to
        ``{"token_count", "exact", "source", "model", "note"?}``. Raises ``BadRequest``, ``ModelNotFound``."""
        body, deployment = await self._read(request, ("model", "text", "messages", "tools"))
        found = await self.counting.count(read_count(body, deployment))
        counted = {"token_count": found.tokens, "exact": found.exact, "source": found.source, "model": body["model"]}
        return json_response({**counted, "note": found.note} if found.note else counted, request)

    async def cost(self, request: Request) -> Response:
        """``{"model", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens"}``
        to ``{"model", "cost", "currency", "pricing", "source", "reason"?}``; ``pricing`` is per token.

        ``prompt_tokens`` excludes tokens read from a cache or written to one.
        Raises ``BadRequest``, ``ModelNotFound``.
        """
        body, deployment = await self._read(request, ("model", *_COUNTS))
        usage, model = read_usage(body), (deployment.provider.name, deployment.model)
        if not self.prices.sure(*model):
            await self.prices.load()
        priced = self.prices.priced(*model)
        unknown: JsonObject = {"cost": None, "currency": "USD", "pricing": None, "source": None}
        response = {"model": body["model"], **unknown}
        if priced is None:
            response["reason"] = f"Neither settings nor a catalog have a price for {str(deployment)!r}."
        else:
            response |= {
                "cost": round(priced.price.of(usage), 12),
                "pricing": prices_per_token(with_price(ModelInfo(), priced.price)),
            }
            response["source"] = priced.source
        return json_response(response, request)

    async def _read(self, request: Request, known: Sequence[str]) -> tuple[JsonObject, Deployment]:
        client = self.keys.identify(request.scope)
        body = parse_body(await read_body(request, self.max_body_bytes))
        model = require_model(body)
        for name in body:
            if name not in known:
                raise BadRequest(f"Unknown field {name!r}; the fields are {', '.join(known)}.", param=name)
        self.budgets.check_model(client, model)
        return body, self.router.resolve(model)[0]


def read_count(body: JsonObject, deployment: Deployment) -> CountTokens:
    """Raises ``BadRequest`` naming the field."""
    provider, model = deployment.provider.name, deployment.model
    text, messages, tools = body.get("text"), body.get("messages"), body.get("tools")
    if text is not None and messages is not None:
        raise BadRequest("Send either 'text' or 'messages', not both.", param="messages")
    if text is not None:
        if not isinstance(text, str):
            raise wrong_type("text", "a string")
        if tools is not None:
            raise BadRequest("'tools' require 'messages'.", param="tools")
        return CountTokens(provider=provider, model=model, text=text)
    if messages is None:
        raise missing("messages")
    return CountTokens(
        provider=provider, model=model, messages=_messages(messages), tools=_objects(tools or [], "tools")
    )


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


def read_usage(body: Mapping[str, Any]) -> Usage:
    """Raises ``BadRequest`` naming the field. A missing count is 0."""
    counts = {name: body.get(name) or 0 for name in _COUNTS}
    for name, value in ((n, body[n]) for n in _COUNTS if body.get(n) is not None):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
            raise wrong_type(name, "a non-negative integer")
    prompt, completion, cached, written = (counts[name] for name in _COUNTS)
    return Usage(prompt=prompt + cached + written, completion=completion, cached=cached, cache_write=written)
