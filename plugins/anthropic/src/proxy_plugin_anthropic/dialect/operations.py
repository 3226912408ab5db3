"""Anthropic's endpoints that need no provider: lists of models, token counts, and what agents ask at their start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from proxy_core import (
    BadRequest,
    JsonObject,
    ListedModel,
    ModelNotFound,
    Operation,
    OperationRequest,
    OperationResponse,
    OperationServices,
)
from proxy_core.dialects.common import retry_headers, without_none
from proxy_plugin_anthropic.dialect.decode import ONLY_HERE, decode
from proxy_plugin_anthropic.dialect.errors import error_object
from proxy_plugin_anthropic.dialect.headers import plain_name
from proxy_plugin_anthropic.dialect.request import check, read_request

_PAGE, _MOST = 20, 1000


async def list_models(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """A page of models. Raises ``BadRequest``."""
    query = request.head.query
    models = await services.models(described=True)
    ids = [model.id for model in models]
    size = _size(query.get("limit"))
    if before := query.get("before_id"):
        end = _place(ids, before, "before_id")
        start = max(0, end - size)
        more = start > 0
    else:
        start = _place(ids, query["after_id"], "after_id") + 1 if query.get("after_id") else 0
        end = start + size
        more = end < len(ids)
    page = [entry(model) for model in models[start:end]]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return OperationResponse(body={"data": page, "has_more": more, "first_id": first, "last_id": last})


def _size(limit: str | None) -> int:
    if not limit:
        return _PAGE
    if not limit.isdecimal() or not 1 <= int(limit[:9]) <= _MOST:
        raise BadRequest(f"limit: Input should be an integer between 1 and {_MOST}", param="limit")
    return int(limit)


def _place(ids: Sequence[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise BadRequest(f"{name}: there is no model {wanted!r}", param=name)
    return ids.index(wanted)


def entry(model: ListedModel) -> JsonObject:
    """A model in Anthropic's form."""
    created = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = model.extra.get("display_name")
    own = {"type": "model", "id": model.id, "display_name": shown if isinstance(shown, str) else model.id}
    info = model.info
    limits = without_none(max_input_tokens=info.context_length, max_tokens=info.max_output_tokens)
    return {**own, "created_at": created, **limits}


async def get_model(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """A model that does not exist is a 404 here, where the address names it; agents use it in bodies."""
    model = plain_name(request.head.parameters["model"])
    try:
        return OperationResponse(body=entry(await services.model(model, described=True)))
    except ModelNotFound as error:
        body = {"type": "error", "error": error_object(error)}
        return OperationResponse(body=body, status=error.status, headers=retry_headers(error))


async def count_tokens(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"input_tokens"}``, with the counter's name in a header. Raises ``BadRequest``, ``ModelNotFound``."""
    body = read_request(request.head, request.body)
    check(body)
    body = {"max_tokens": 1, **body}  # which a count does not need, but a translation for another provider's does
    chat = decode({name: value for name, value in body.items() if name not in ONLY_HERE})
    counted = await services.count_tokens(chat, body)
    return OperationResponse(body={"input_tokens": max(1, counted.tokens)}, headers=counted.headers)


async def hello(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Claude Code only opens a connection with it."""
    return OperationResponse()


OPERATIONS = (
    Operation(paths=["/v1/messages/count_tokens", "/messages/count_tokens"], answer=count_tokens, methods=["POST"]),
    Operation(paths=["/v1/models"], answer=list_models, shared=True),
    Operation(paths=["/v1/models/{model:path}"], answer=get_model, shared=True),
    Operation(paths=["/"], answer=hello, methods=["HEAD"], public=True),
    Operation(paths=["/api/hello"], answer=hello, methods=["HEAD", "GET"], public=True),
)
