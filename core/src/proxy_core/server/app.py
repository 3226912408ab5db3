"""The Starlette application: routes from dialects, and what the proxy says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy_core.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, ProxyError
from proxy_core.interfaces import Dialect
from proxy_core.server.admin import Operations
from proxy_core.server.endpoint import DialectEndpoint
from proxy_core.server.info import Introspection, error_response
from proxy_core.server.metrics_endpoint import Scrape
from proxy_core.server.quota_stats import QuotaStats
from proxy_core.server.services import Services
from proxy_core.server.token_count import Measures

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build_app(
    dialects: Mapping[str, Dialect],
    services: Services,
    introspection: Introspection,
    operations: Operations,
    stats: QuotaStats,
    measures: Measures,
    lifespan: Lifespan,
    scrape: Scrape | None = None,
) -> Starlette:
    """An ASGI application. Building it has no side effects; ``lifespan`` opens what it needs."""
    # Before the dialect of the same addresses, which has the methods that go to a provider.
    routes = [
        Route(f"{prefix}/models/{{model:path}}:countTokens", measures.count_for_google, methods=["POST"])
        for prefix in ("/v1beta", "/v1")
    ]
    routes += [
        Route(path, DialectEndpoint(dialect, services), methods=["POST"])
        for dialect in dialects.values()
        for path in dialect.paths
    ]
    i = introspection
    routes += [
        Route("/", i.root, methods=["GET"]),
        Route("/healthz", i.healthz, methods=["GET"]),
        Route("/readyz", i.readyz, methods=["GET"]),
    ]
    for prefix in ("/v1", ""):
        routes += [
            Route(f"{prefix}/models", i.models, methods=["GET"]),
            Route(f"{prefix}/models/{{model:path}}", i.model, methods=["GET"]),
            Route(f"{prefix}/providers", i.providers, methods=["GET"]),
            Route(f"{prefix}/quota-stats", stats.show, methods=["GET"]),
            Route(f"{prefix}/token-count", measures.count, methods=["POST"]),
            Route(f"{prefix}/cost-estimate", measures.cost, methods=["POST"]),
        ]
    routes += [
        Route("/v1beta/models", i.models, methods=["GET"]),
        Route("/v1beta/models/{model:path}", i.model, methods=["GET"]),
    ]
    o = operations
    routes += [
        Route("/admin/why", o.why, methods=["GET"]),
        Route("/admin/quotas", o.quotas, methods=["GET"]),
        Route("/admin/explain", o.dry, methods=["POST"]),
        Route("/admin/explain/{request_id}", o.explain, methods=["GET"]),
        Route("/admin/cooldowns/clear", o.clear, methods=["POST"]),
        Route("/admin/reload", o.reload, methods=["POST"]),
    ]
    if scrape is not None:
        routes.append(Route("/metrics", scrape.metrics, methods=["GET"]))
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={ProxyError: _proxy_error, HTTPException: _http_exception, Exception: _bug},
    )
    # A redirect would make clients resend bodies and keys to an address the request chose.
    app.router.redirect_slashes = False
    return app


async def _proxy_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProxyError)  # registered for nothing else
    return error_response(error, request)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for nothing else
    path, method = request.scope["path"], request.scope["method"]
    told: ProxyError
    if error.status_code == 404:
        told = NotFound(f"There is no {path!r} here.")
    elif error.status_code == 405:
        told = MethodNotAllowed(f"{method} is not possible on {path!r}.")
    else:
        told = BadRequest(str(error.detail))
        told.status = error.status_code
    response = error_response(told, request)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _bug(request: Request, error: Exception) -> Response:
    return error_response(InternalError("The proxy failed; its log has the details under this request id."), request)
