"""``GET /v1/models`` and ``GET /v1/models/{id}``: OpenAI's fields, and what else is known about a model."""

from __future__ import annotations

from proxy_core.dialects.common import prices_per_token
from proxy_core.errors import BadRequest
from proxy_core.interfaces import (
    ListedModel,
    Operation,
    OperationRequest,
    OperationResponse,
    OperationServices,
)
from proxy_core.messages import JsonObject


async def list_models(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``BadRequest``."""
    described = _described(request)
    models = await services.models(described=described)
    body = {"object": "list", "data": [entry(model, described) for model in models]}
    # Agents that say their version want descriptions of their own making, and log an error if the member is not there.
    return OperationResponse(body={**body, "models": []} if "client_version" in request.head.query else body)


async def get_model(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``BadRequest``, ``ModelNotFound``."""
    described = _described(request)
    model = await services.model(request.head.parameters["model"], described=described)
    return OperationResponse(body=entry(model, described))


def _described(request: OperationRequest) -> bool:
    """``?enriched=false`` leaves out everything that OpenAI's API does not have."""
    wanted = request.head.query.get("enriched", "true").lower()
    if wanted not in ("true", "1", "false", "0"):
        raise BadRequest("'enriched' must be true or false.", param="enriched")
    return wanted in ("true", "1")


def entry(model: ListedModel, described: bool = True) -> JsonObject:
    """OpenAI's fields take precedence over those of the provider's own list."""
    own = {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
    return {**model.extra, **own, **(known_fields(model) if described else {})}


def known_fields(model: ListedModel) -> JsonObject:
    """Prices are US dollars per token. ``_sources`` names each field's source: settings, provider or a catalog."""
    info, sources = model.info, model.sources
    modalities = {
        name: list(value)
        for name in ("input_modalities", "output_modalities")
        if (value := getattr(info, name)) is not None
    }
    members = {
        "context_length": (info.context_length, sources.get("context_length")),
        "max_completion_tokens": (info.max_output_tokens, sources.get("max_output_tokens")),
        "pricing": (prices_per_token(info) if "prices" in sources else None, sources.get("prices")),
        "architecture": (modalities or None, ", ".join(dict.fromkeys(sources.get(name, "") for name in modalities))),
        "capabilities": (dict(info.capabilities) if info.capabilities else None, sources.get("capabilities")),
    }
    known = {name: (value, source) for name, (value, source) in members.items() if value is not None and source}
    return {
        **{name: value for name, (value, _) in known.items()},
        "_sources": {name: source for name, (_, source) in known.items()},
    }


OPERATIONS = (
    Operation(paths=("/v1/models", "/models"), answer=list_models),
    Operation(paths=("/v1/models/{model:path}", "/models/{model:path}"), answer=get_model),
)
