"""The Starlette application: the routes of dialects, the proxy's own endpoints and plugins' pages."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy_core.dialects import openai_chat
from proxy_core.errors import BadRequest, PluginError, ProxyError
from proxy_core.plugins.registry import Catalog
from proxy_core.server.admin import Operations
from proxy_core.server.endpoint import DialectEndpoint
from proxy_core.server.info import Introspection
from proxy_core.server.openapi import OpenApi
from proxy_core.server.operations import Served, operation_routes
from proxy_core.server.pages import PageServices, page_routes
from proxy_core.server.paths import tidied
from proxy_core.server.services import Services
from proxy_core.server.status_endpoint import Statuses

OPENAPI = "/openapi.json"


def build_app(
    catalog: Catalog,
    services: Services,
    introspection: Introspection,
    operations: Operations,
    statuses: Statuses,
    pages: PageServices,
    served: Served,
) -> ASGIApp:
    """An ASGI application. Building it has no side effects.

    Raises ``PluginError`` for a plugin's path that is the core's, or a page that overlaps with another address.
    """
    own = _own_routes(introspection, operations, statuses)
    taken = {OPENAPI, *(route.path for route in own)}
    for path in (path for operation in catalog.operations for path in operation.paths if path in taken):
        raise PluginError(catalog.owner("proxy_operations", path), f"path {path} belongs to the core itself")
    endpoints = {path: DialectEndpoint(d, services) for d in catalog.dialects.values() for path in d.paths}
    routes = [*_client_routes(catalog, endpoints, served), *own]
    openapi = OpenApi(routes, catalog.dialects.values(), served.keys)
    routes.append(Route(OPENAPI, openapi.show, methods=["GET"]))
    routes += page_routes(catalog, pages, taken=[route.path for route in routes])
    wording = served.wording
    app = Starlette(
        routes=routes,
        exception_handlers={
            ProxyError: wording.proxy_error,
            HTTPException: wording.http_exception,
            Exception: wording.bug,
        },
    )
    # A redirect would make clients resend bodies and keys to an address that the request chose.
    app.router.redirect_slashes = False
    return _App(app, {path: endpoint for path, endpoint in endpoints.items() if "{" not in path})


class _App:
    """Sends a model request straight to its endpoint, which handles errors itself, and everything else to Starlette.

    Starlette's middleware and routing would take a tenth of the proxy's own time for such a request.
    """

    def __init__(self, app: Starlette, endpoints: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._endpoints = endpoints

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        direct = self._direct(scope)
        if direct is None and scope["type"] == "http" and (path := tidied(scope["path"])) != scope["path"]:
            scope = {**scope, "path": path}
            direct = self._direct(scope)
        if direct is None and scope["type"] == "websocket":
            return _refuse_websocket(scope, receive, send)
        return (direct or self._app)(scope, receive, send)

    def _direct(self, scope: Scope) -> ASGIApp | None:
        return self._endpoints.get(scope["path"]) if scope.get("method") == "POST" else None


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """With a status after which agents go on with HTTP; they repeat the offer after a 403."""
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    error = BadRequest("WebSockets are not available here: use HTTP.")
    error.status = 426
    encoded = openai_chat.DIALECT.encode_error(error, "")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(encoded.body)).encode())]
    await send({"type": "websocket.http.response.start", "status": encoded.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encoded.body})


def _own_routes(i: Introspection, o: Operations, statuses: Statuses) -> list[Route]:
    return [
        Route("/", i.root, methods=["GET"]),
        Route("/healthz", i.healthz, methods=["GET"]),
        Route("/readyz", i.readyz, methods=["GET"]),
        Route("/v1/providers", i.providers, methods=["GET"]),
        Route("/providers", i.providers, methods=["GET"]),
        Route("/admin/status", statuses.show, methods=["GET"]),
        Route("/admin/usage", o.usage, methods=["GET"]),
        Route("/admin/why", o.why, methods=["GET"]),
        Route("/admin/explain", o.dry, methods=["POST"]),
        Route("/admin/explain/{request_id}", o.explain, methods=["GET"]),
        Route("/admin/requests", o.requests, methods=["GET"]),
        Route("/admin/models", o.models, methods=["GET"]),
        Route("/admin/cooldowns/clear", o.clear, methods=["POST"]),
        Route("/admin/reload", o.reload, methods=["POST"]),
    ]


def _client_routes(catalog: Catalog, endpoints: Mapping[str, ASGIApp], served: Served) -> list[Route]:
    """Model requests come first, as nearly all requests are of this kind; an address that ends in a parameter comes
    last, because it matches nearly everything."""
    routes = [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]
    routes += operation_routes(catalog.dialects.values(), catalog.operations, served)
    return sorted(routes, key=lambda route: route.path.endswith("}"))
