"""Serves addresses that dialects handle themselves: routing, keys, bodies and errors around their functions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from proxy_core.clock import Clock
from proxy_core.dialects.common import json_bytes, parse_body
from proxy_core.errors import InternalError, PluginFailed, ProxyError
from proxy_core.interfaces import (
    Dialect,
    Operation,
    OperationRequest,
    OperationResponse,
    OperationServices,
    RequestRecord,
)
from proxy_core.jsons import SHORT, beside
from proxy_core.plugins.faults import Faults
from proxy_core.records.recent import RecentRequests
from proxy_core.server.auth import ClientKeys
from proxy_core.server.bodies import decompressed, read_body
from proxy_core.server.head import request_head
from proxy_core.server.request_headers import check_hops, id_headers, read
from proxy_core.server.wording import Wording, error_response

log = logging.getLogger("proxy_core.operation")

Failed = Callable[[PluginFailed], None]
#: From a client's name, through how many of these proxies its request has come, and what is called for each plugin that
#: fails, to the services for it.
ServicesOf = Callable[[str, int, Failed], OperationServices]


class Served(Struct, frozen=True, kw_only=True):
    """What every operation needs."""

    keys: ClientKeys
    services_of: ServicesOf
    wording: Wording
    faults: Faults
    recent: RecentRequests
    max_body_bytes: int
    clock: Clock


class OperationEndpoint:
    """One operation of ``dialect``, or of none."""

    def __init__(self, dialect: Dialect | None, operation: Operation, served: Served) -> None:
        self._dialect = dialect
        self.dialect = dialect.name if dialect is not None else ""
        self._operation = operation
        self._served = served

    async def answer(self, request: Request) -> Response:
        began, failures = self._served.clock.monotonic(), list[PluginFailed]()
        response = await self._answer(request, failures.append)
        if failures:  # ``explain`` shows it; of other operations nothing is recorded
            self._keep(request, response, self._served.clock.monotonic() - began, failures[-1])
        return response

    async def _answer(self, request: Request, failed: Failed) -> Response:
        try:
            response = _response(await self._operation_response(request, failed))
        except ProxyError as error:
            if isinstance(error, PluginFailed):
                failed(error)
            return self._error(error, request)
        except (Exception, SystemExit) as error:  # a plugin's function may fail in any way
            if (blamed := self._served.faults.blamed(error)) is not None:
                failed(blamed)
                return self._error(blamed, request)
            log.exception("%s failed", request.scope["path"])
            return self._error(
                InternalError("The proxy failed; its log has the details under this request id."), request
            )
        response.raw_headers.extend(id_headers(read(request.scope["headers"]).request_id))
        return response

    def _keep(self, request: Request, response: Response, duration_s: float, error: PluginFailed) -> None:
        keys, status = self._served.keys, response.status_code
        record = RequestRecord(
            id=response.headers["x-request-id"],
            client="-" if self._operation.public else keys.identify(request.scope),
            dialect=self._dialect.name if self._dialect is not None else "-",
            model="-",
            stream=False,
            status=status,
            outcome="completed" if status < 400 else "failed",
            error=None if status < 400 else error.code,
            started_at=datetime.now(UTC),
            first_event_s=None,
            duration_s=duration_s,
            attempts=(),
            usage=None,
            cause=error.cause,
        )
        self._served.recent.keep(record)

    def _error(self, error: ProxyError, request: Request) -> Response:
        return error_response(error, request, self._dialect or self._served.wording.dialect_of(request.scope))

    async def _operation_response(self, request: Request, failed: Failed) -> OperationResponse:
        keys = self._served.keys
        client = "" if self._operation.public else keys.identify(request.scope)
        headers, limit = read(request.scope["headers"]), self._served.max_body_bytes
        check_hops(headers.hops)
        raw = await read_body(request, limit, self._served.clock)
        raw = raw if headers.encoding is None else await decompressed(raw, headers.encoding, limit)
        head = request_head(request.scope, keys.places, client)
        body = parse_body(raw or b"{}") if len(raw) <= SHORT else await beside(parse_body, raw)
        operation_request = OperationRequest(head=head, body=body)
        return await self._operation.answer(operation_request, self._served.services_of(client, headers.hops, failed))


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
        self.operation = operation
        self.dialect = endpoint.dialect
        self._mine = mine

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        elsewhere = match is Match.PARTIAL and self.path.endswith("}")
        if match is not Match.NONE and (elsewhere or (self.shared and not self._mine(scope))):
            return Match.NONE, {}
        return match, found


def operation_routes(
    dialects: Iterable[Dialect], operations: Iterable[Operation], served: Served
) -> list[OperationRoute]:
    """``operations`` belong to no dialect. Shared routes first: what they do not recognize goes to one that is not."""

    def mine(dialect: Dialect | None) -> Callable[[Scope], bool]:
        return lambda scope: dialect is not None and served.wording.recognized(dialect, scope)

    every = [(dialect, operation) for dialect in dialects for operation in dialect.operations]
    routes = [
        OperationRoute(path, OperationEndpoint(dialect, operation, served), operation, mine(dialect))
        for dialect, operation in [*every, *((None, operation) for operation in operations)]
        for path in operation.paths
    ]
    return sorted(routes, key=lambda route: not route.shared)
