"""Serves addresses that dialects handle themselves: routing, keys, bodies and errors around their functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from proxy_core.dialects.common import json_bytes, parse_body
from proxy_core.errors import InternalError, ProxyError
from proxy_core.interfaces import Dialect, Operation, OperationRequest, OperationResponse, OperationServices
from proxy_core.server.auth import ClientKeys
from proxy_core.server.bodies import read_body
from proxy_core.server.head import request_head
from proxy_core.server.request_headers import id_headers, read
from proxy_core.server.wording import Wording, error_response

log = logging.getLogger("proxy_core.operation")

#: From a client's name to the services for it.
ServicesOf = Callable[[str], OperationServices]


class OperationEndpoint:
    """One operation of one dialect."""

    def __init__(
        self, dialect: Dialect, operation: Operation, keys: ClientKeys, services: ServicesOf, max_body_bytes: int
    ) -> None:
        self._dialect = dialect
        self._operation = operation
        self._keys = keys
        self._services = services
        self._max_body_bytes = max_body_bytes

    async def answer(self, request: Request) -> Response:
        try:
            response = _response(await self._operation_response(request))
        except ProxyError as error:
            return error_response(error, request, self._dialect)
        except Exception:  # a dialect's function may fail in any way
            log.exception("%s failed", request.scope["path"])
            failed = InternalError("The proxy failed; its log has the details under this request id.")
            return error_response(failed, request, self._dialect)
        response.raw_headers.extend(id_headers(read(request.scope["headers"]).request_id))
        return response

    async def _operation_response(self, request: Request) -> OperationResponse:
        client = "" if self._operation.public else self._keys.identify(request.scope)
        raw = await read_body(request, self._max_body_bytes)
        head = request_head(request.scope, self._keys.places, client)
        operation_request = OperationRequest(head=head, body=parse_body(raw) if raw else {})
        return await self._operation.answer(operation_request, self._services(client))


def _response(answered: OperationResponse) -> Response:
    if answered.body is None:
        response = Response(status_code=answered.status)
    else:
        response = Response(json_bytes(answered.body), status_code=answered.status, media_type="application/json")
    response.headers.update(dict(answered.headers))
    return response


class OperationRoute(Route):
    """One path of an operation.

    A shared address exists only for its own dialect's clients. An address that ends in a parameter does not reject
    other methods: what the parameter matched may be another dialect's address.
    """

    def __init__(
        self, path: str, endpoint: OperationEndpoint, operation: Operation, mine: Callable[[Scope], bool]
    ) -> None:
        super().__init__(path, endpoint.answer, methods=list(operation.methods))
        self.shared = operation.shared
        self._mine = mine

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        elsewhere = match is Match.PARTIAL and self.path.endswith("}")
        if match is not Match.NONE and (elsewhere or (self.shared and not self._mine(scope))):
            return Match.NONE, {}
        return match, found


def operation_routes(
    dialects: Iterable[Dialect], keys: ClientKeys, services: ServicesOf, wording: Wording, max_body_bytes: int
) -> list[OperationRoute]:
    """Shared routes first: what they do not recognize goes to the route that is not shared."""

    def mine(dialect: Dialect) -> Callable[[Scope], bool]:
        return lambda scope: wording.recognized(dialect, scope)

    routes = [
        OperationRoute(
            path, OperationEndpoint(dialect, operation, keys, services, max_body_bytes), operation, mine(dialect)
        )
        for dialect in dialects
        for operation in dialect.operations
        for path in operation.paths
    ]
    return sorted(routes, key=lambda route: not route.shared)
