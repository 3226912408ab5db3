"""``/openapi.json``: the addresses that this proxy answers, as an OpenAPI document.

Of the bodies of model requests it has what they must contain, and the page that has the rest: the vendors add fields as
they like, and the proxy passes on what it does not know.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy_core.interfaces import Dialect
from proxy_core.messages import JsonObject
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import json_response
from proxy_core.server.operations import OperationRoute
from proxy_core.version import VERSION

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_JSON: JsonObject = {"application/json": {"schema": {"type": "object"}}}
_STREAM: JsonObject = {"text/event-stream": {"schema": {"type": "string"}}}
_OK = "The answer"
#: The types of fields that mean the same in every dialect.
_KNOWN: Mapping[str, JsonObject] = {
    "model": {"type": "string", "description": "`provider/model`, or a name from `[models]`."},
    "messages": {"type": "array", "items": {"type": "object"}},
    "max_tokens": {"type": "integer"},
}


class OpenApi:
    """``routes``: all of them, in the order in which they are tried."""

    def __init__(self, routes: Sequence[Route], dialects: Iterable[Dialect], keys: ClientKeys) -> None:
        self._routes = routes
        self._dialects = {path: dialect for dialect in dialects for path in dialect.paths}
        self._keys = keys
        self._document: JsonObject | None = None

    async def show(self, request: Request) -> Response:
        """This document."""
        self._keys.identify(request.scope)
        if self._document is None:
            self._document = document(self._routes, self._dialects)
        return json_response(self._document, request)


def document(routes: Iterable[Route], dialects: Mapping[str, Dialect]) -> JsonObject:
    """``dialects``: by path, of model requests. Pure."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        methods = paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})
        for method in sorted(_methods(route)):
            methods.setdefault(method.lower(), _operation(route, method, dialects.get(route.path)))
    return {
        "openapi": "3.1.0",
        "info": {"title": "proxy-core", "version": VERSION},
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "client": {"type": "http", "scheme": "bearer", "description": "A client's key."},
                "admin": {"type": "http", "scheme": "bearer", "description": "The admin key."},
            }
        },
    }


def _methods(route: Route) -> set[str]:
    """Without the HEAD that every GET brings with it."""
    methods = set(route.methods or ())
    return methods - {"HEAD"} if "GET" in methods else methods


def _operation(route: Route, method: str, dialect: Dialect | None) -> JsonObject:
    content = {**_JSON, **_STREAM} if dialect is not None else _JSON
    found: JsonObject = {
        "summary": f"A model request in the dialect {dialect.name}" if dialect is not None else _summary(route),
        "tags": [dialect.name if dialect is not None else _tag(route)],
        "security": _security(route),
        "responses": {"200": {"description": _OK, "content": content}, "default": {"description": "An error"}},
    }
    names = _PARAMETER.findall(route.path)
    if names:
        schema = {"type": "string"}
        found["parameters"] = [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
    if method == "POST":
        found["requestBody"] = _body(dialect) if dialect is not None else {"content": _JSON}
    if dialect is not None and dialect.reference:
        found["externalDocs"] = {"url": dialect.reference}
    return found


def _body(dialect: Dialect) -> JsonObject:
    properties = {name: _KNOWN.get(name, {}) for name in dialect.required}
    if dialect.family == "chat" and "model" in properties:
        properties["stream"] = {"type": "boolean"}
    schema: JsonObject = {"type": "object", "required": [*dialect.required], "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _summary(route: Route) -> str:
    """The first sentence of what the function says of itself."""
    function = route.operation.answer if isinstance(route, OperationRoute) else route.endpoint
    text = inspect.getdoc(inspect.unwrap(function))
    return (text or "").partition("\n")[0].replace("``", "`").rstrip(".")


def _tag(route: Route) -> str:
    if isinstance(route, OperationRoute):
        return route.dialect or "plugins"
    return "admin" if route.path.startswith("/admin") else "proxy"


def _security(route: Route) -> list[JsonObject]:
    if isinstance(route, OperationRoute):
        return [] if route.operation.public else [{"client": []}]
    if route.path in ("/", "/healthz", "/readyz"):
        return []
    return [{"admin" if route.path.startswith("/admin") else "client": []}]
