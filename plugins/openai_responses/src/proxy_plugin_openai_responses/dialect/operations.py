"""Requests that need no provider: token counts, and what is not available here."""

from __future__ import annotations

from proxy_core import BadRequest, NotFound, Operation, OperationRequest, OperationResponse, OperationServices
from proxy_plugin_openai_responses.dialect.decode import decode
from proxy_plugin_openai_responses.dialect.request import check
from proxy_plugin_openai_responses.dialect.stored import Stored, is_id, previous, read, resume


async def count_tokens(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """``{"input_tokens"}``, with the counter's name in a header. Raises ``BadRequest``, ``ModelNotFound``."""
    check(request.body)
    name = previous(request.body)
    whole = request.body if name is None else resume(request.body, await services.kept(name))
    counted = await services.count_tokens(decode(whole), whole)
    body = {"object": "response.input_tokens", "input_tokens": counted.tokens}
    return OperationResponse(body=body, headers=counted.headers)


async def compact(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``NotFound``."""
    raise NotFound("The proxy does not compact conversations: the client has to shorten its own.")


async def get_response(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``NotFound``, ``BadRequest``."""
    if request.head.query.get("stream", "false").lower() not in ("false", "0"):
        raise BadRequest(
            "'stream' is not available: a response is kept when it is complete.",
            param="stream",
            code="unsupported_parameter",
        )
    return OperationResponse(body=(await _stored(request, services)).response)


async def input_items(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Newest first, unless asked otherwise. Raises ``NotFound``, ``BadRequest``."""
    stored, query = await _stored(request, services), request.head.query
    response_id = request.head.parameters["id"]
    every = [{"id": f"item_{response_id}_{index}", **item} for index, item in enumerate(stored.input)]
    if query.get("order", "desc") != "asc":
        every.reverse()
    ids = [item["id"] for item in every]
    after = query.get("after")
    if after and after not in ids:
        raise BadRequest("'after' is not the id of an item.", param="after", code="invalid_value")
    start = ids.index(after) + 1 if after else 0
    limit = _limit(query.get("limit", "20"))
    page = every[start : start + limit]
    return OperationResponse(
        body={
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + limit < len(every),
        }
    )


async def delete_response(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``NotFound``."""
    response_id = request.head.parameters["id"]
    if not is_id(response_id) or not await services.forget(response_id):
        raise _not_found(response_id)
    return OperationResponse(body={"id": response_id, "object": "response", "deleted": True})


async def cancel(request: OperationRequest, services: OperationServices) -> OperationResponse:
    """Raises ``NotFound``, ``BadRequest``."""
    await _stored(request, services)
    raise BadRequest("Only responses that run in the background can be cancelled: close the connection instead.")


async def _stored(request: OperationRequest, services: OperationServices) -> Stored:
    response_id = request.head.parameters["id"]
    found = await services.kept(response_id) if is_id(response_id) else None
    if found is None:
        raise _not_found(response_id)
    return read(found)


def _not_found(response_id: str) -> NotFound:
    return NotFound(f"Response with id {response_id[:200]!r} not found.")


def _limit(given: str) -> int:
    if not given.isdecimal() or not 1 <= int(given[:9]) <= 100:
        raise BadRequest("'limit' must be between 1 and 100.", param="limit", code="invalid_value")
    return int(given)


OPERATIONS = (
    Operation(paths=["/v1/responses/input_tokens", "/responses/input_tokens"], answer=count_tokens, methods=["POST"]),
    Operation(paths=["/v1/responses/{id}", "/responses/{id}"], answer=get_response),
    Operation(paths=["/v1/responses/{id}", "/responses/{id}"], answer=delete_response, methods=["DELETE"]),
    Operation(paths=["/v1/responses/{id}/input_items", "/responses/{id}/input_items"], answer=input_items),
    Operation(paths=["/v1/responses/{id}/cancel", "/responses/{id}/cancel"], answer=cancel, methods=["POST"]),
    Operation(paths=["/v1/responses/compact", "/responses/compact"], answer=compact, methods=["POST"]),
)
