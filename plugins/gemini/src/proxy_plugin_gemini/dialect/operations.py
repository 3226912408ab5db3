"""Gemini's endpoints that need no provider: model lists and ``countTokens``."""

from __future__ import annotations

from proxy_core import (
    JsonObject,
    ListedModel,
    Operation,
    OperationRequest,
    OperationResponse,
    OperationServices,
)
from proxy_plugin_gemini.dialect.decode import check, decode


async def list_models(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """The models that the client may use."""
    return OperationResponse(body={"models": [entry(model) for model in await services.models()]})


async def get_model(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``ModelNotFound``."""
    return OperationResponse(body=entry(await services.model(request.head.parameters["model"])))


async def count_tokens(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"contents"}`` or ``{"generateContentRequest"}`` to ``{"totalTokens"}``, with the counter's name in a header.

    Raises ``BadRequest``, ``ModelNotFound``.
    """
    inner, model = request.body.get("generateContentRequest"), request.head.parameters["model"]
    asked = {**(inner if isinstance(inner, dict) else request.body), "model": model.removeprefix("models/")}
    check(asked)
    counted = await services.count_tokens(decode(asked), asked)
    return OperationResponse(body={"totalTokens": counted.tokens}, headers=counted.headers)


def entry(model: ListedModel) -> JsonObject:
    """A model in Google's form. Limits are left out because they are known only in the provider's own terms."""
    methods = ["generateContent", "streamGenerateContent"]
    return {"name": f"models/{model.id}", "displayName": model.id, "supportedGenerationMethods": methods}


OPERATIONS = (
    Operation(
        paths=["/v1beta/models/{model:path}:countTokens", "/v1/models/{model:path}:countTokens"],
        answer=count_tokens,
        methods=["POST"],
    ),
    Operation(paths=["/v1beta/models"], answer=list_models),
    Operation(paths=["/v1beta/models/{model:path}"], answer=get_model),
    Operation(paths=["/v1/models"], answer=list_models, shared=True),
    Operation(paths=["/v1/models/{model:path}"], answer=get_model, shared=True),
)
