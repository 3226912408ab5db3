"""The Starlette application: the routes of dialects, the proxy's own endpoints and plugins' pages."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from proxy_core.errors import ProxyError
from proxy_core.interfaces import Dialect
from proxy_core.plugins.registry import Catalog
from proxy_core.server.admin import Operations
from proxy_core.server.endpoint import DialectEndpoint
from proxy_core.server.info import Introspection
from proxy_core.server.operations import ServicesOf, operation_routes
from proxy_core.server.pages import PageServices, page_routes
from proxy_core.server.quota_stats import QuotaStats
from proxy_core.server.services import Services
from proxy_core.server.status_endpoint import Statuses
from proxy_core.server.token_count import Measures
from proxy_core.server.wording import Wording


def build_app(
    catalog: Catalog,
    services: Services,
    introspection: Introspection,
    operations: Operations,
    stats: QuotaStats,
    measures: Measures,
    statuses: Statuses,
    pages: PageServices,
    wording: Wording,
    services_of: ServicesOf,
) -> Starlette:
    """An ASGI application. Building it has no side effects.

    Raises ``PluginError`` for a plugin's page that overlaps with another address.
    """
    i = introspection
    routes = [
        *_dialect_routes(catalog.dialects, services, services_of, wording),
        Route("/", i.root, methods=["GET"]),
        Route("/healthz", i.healthz, methods=["GET"]),
        Route("/readyz", i.readyz, methods=["GET"]),
    ]
    for prefix in ("/v1", ""):
        routes += [
            Route(f"{prefix}/providers", i.providers, methods=["GET"]),
            Route(f"{prefix}/quota-stats", stats.show, methods=["GET"]),
            Route(f"{prefix}/token-count", measures.count, methods=["POST"]),
            Route(f"{prefix}/cost-estimate", measures.cost, methods=["POST"]),
        ]
    o = operations
    routes += [
        Route("/admin/status", statuses.show, methods=["GET"]),
        Route("/admin/why", o.why, methods=["GET"]),
        Route("/admin/explain", o.dry, methods=["POST"]),
        Route("/admin/explain/{request_id}", o.explain, methods=["GET"]),
        Route("/admin/cooldowns/clear", o.clear, methods=["POST"]),
        Route("/admin/reload", o.reload, methods=["POST"]),
    ]
    routes += page_routes(catalog, pages, taken=[route.path for route in routes])
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
    return app


def _dialect_routes(
    dialects: Mapping[str, Dialect], services: Services, services_of: ServicesOf, wording: Wording
) -> list[Route]:
    """Model requests come first, as nearly all requests are of this kind; an address that ends in a parameter comes
    last, because it matches nearly everything."""
    routes: list[Route] = [
        Route(path, DialectEndpoint(dialect, services), methods=["POST"])
        for dialect in dialects.values()
        for path in dialect.paths
    ]
    routes += operation_routes(dialects.values(), services.keys, services_of, wording, services.max_body_bytes)
    return sorted(routes, key=lambda route: route.path.endswith("}"))
