"""``GET /v1/model-info/stats``: how much is known of the models that a client may use, and from where."""

from __future__ import annotations

from collections import Counter

from proxy_core import Operation, OperationRequest, OperationResponse, OperationServices


async def show(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """How many models the client may use, and of how many something is known."""
    models = await services.models(described=True)
    sources = Counter(source for model in models for source in set(model.sources.values()))
    described = sum(bool(model.sources) for model in models)
    body = {"ready": True, "models": len(models), "described": described, "sources": dict(sorted(sources.items()))}
    return OperationResponse(body=body)


OPERATION = Operation(paths=["/v1/model-info/stats", "/model-info/stats"], answer=show)
