"""Errors at addresses of no dialect: in the format of the dialect that recognizes its client, else the common one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from proxy_core.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, ProxyError
from proxy_core.interfaces import Dialect
from proxy_core.messages import JsonObject
from proxy_core.server.auth import KeyPlaces
from proxy_core.server.errors import error_headers
from proxy_core.server.head import request_head
from proxy_core.server.paths import advice, owner, tidied
from proxy_core.server.request_headers import id_headers, read

log = logging.getLogger("proxy_core.dialects")


class Wording:
    """``common`` is the dialect for clients that no dialect recognizes."""

    def __init__(self, common: Dialect, dialects: Iterable[Dialect], places: KeyPlaces) -> None:
        self._common = common
        self._dialects = list(dialects)
        self._recognizing = [dialect for dialect in self._dialects if dialect.recognizes is not None]
        self._places = places
        self._logged: set[tuple[str, type[BaseException]]] = set()

    def dialect_of(self, scope: Mapping[str, Any]) -> Dialect:
        return next((dialect for dialect in self._recognizing if self.recognized(dialect, scope)), self._common)

    def recognized(self, dialect: Dialect, scope: Mapping[str, Any]) -> bool:
        if dialect.recognizes is None:
            return False
        try:
            return dialect.recognizes(request_head(scope, self._places))
        except (
            Exception,
            SystemExit,
        ) as error:  # a plugin may fail in any way; not recognized, then
            if (dialect.name, type(error)) not in self._logged:
                self._logged.add((dialect.name, type(error)))
                log.warning("the dialect %s failed to recognize a request", dialect.name, exc_info=error)
            return False

    def response(self, error: ProxyError, request: Request) -> Response:
        return error_response(error, request, self.dialect_of(request.scope))

    def body(self, error: ProxyError, request: Request) -> JsonObject:
        """The error as fields of a larger response."""
        encoded = self.dialect_of(request.scope).encode_error(error, read(request.scope["headers"]).request_id)
        body: JsonObject = json.loads(encoded.body)
        return body

    async def proxy_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ProxyError)  # registered for nothing else
        return self.response(error, request)

    async def http_exception(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # registered for nothing else
        path, method = request.scope["path"], request.scope["method"]
        failure: ProxyError
        if error.status_code == 404:
            failure = NotFound(f"There is no {path!r} here.{advice(path, self._dialects)}")
        elif error.status_code == 405:
            failure = MethodNotAllowed(f"{method} is not supported at {path!r}.")
        else:
            failure = BadRequest(str(error.detail))
            failure.status = error.status_code
        dialect = owner(tidied(path), self._dialects) or self.dialect_of(request.scope)
        response = error_response(failure, request, dialect)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    async def bug(self, request: Request, error: Exception) -> Response:
        return self.response(InternalError("The proxy failed; its log has the details under this request id."), request)


def error_response(error: ProxyError, request: Request, dialect: Dialect) -> Response:
    request_id = read(request.scope["headers"]).request_id
    encoded = dialect.encode_error(error, request_id)
    response = Response(encoded.body, status_code=encoded.status, media_type="application/json")
    response.raw_headers.extend([*id_headers(request_id), *error_headers(error, encoded)])
    return response
