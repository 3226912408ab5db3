"""Requests that need no provider: token counts, and what is not available here."""

from __future__ import annotations

from proxy_core import NotFound, Operation, OperationRequest, OperationResponse, OperationServices
from proxy_plugin_openai_responses.dialect.decode import decode
from proxy_plugin_openai_responses.dialect.request import check


async def count_tokens(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"input_tokens"}``, with the counter's name in a header. Raises ``BadRequest``, ``ModelNotFound``."""
    check(request.body)
    counted = await services.count_tokens(decode(request.body), request.body)
    body = {"object": "response.input_tokens", "input_tokens": counted.tokens}
    return OperationResponse(body=body, headers=counted.headers)


async def compact(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``NotFound``."""
    raise NotFound("The proxy does not compact conversations: the client has to shorten its own.")


OPERATIONS = (
    Operation(paths=["/v1/responses/input_tokens", "/responses/input_tokens"], answer=count_tokens, methods=["POST"]),
    Operation(paths=["/v1/responses/compact", "/responses/compact"], answer=compact, methods=["POST"]),
)
