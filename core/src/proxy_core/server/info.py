"""Health checks and the list of providers. They never contain a key, a header or a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from proxy_core.dialects.common import json_bytes
from proxy_core.errors import Unauthorized
from proxy_core.interfaces import Health
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.pool import Pool
from proxy_core.server.auth import ClientKeys
from proxy_core.server.request_headers import id_headers, read


def json_response(value: object, request: Request, status: int = 200) -> Response:
    response = Response(json_bytes(value), status_code=status, media_type="application/json")
    response.raw_headers.extend(id_headers(read(request.scope["headers"]).request_id))
    return response


class Introspection(Struct, frozen=True, kw_only=True):
    """The read-only endpoints."""

    catalog: Catalog
    pools: Mapping[str, Pool]
    keys: ClientKeys
    health: Callable[[], Health]

    async def root(self, request: Request) -> Response:
        """What answers here."""
        return json_response({"service": "proxy-core", "status": "ok"}, request)

    async def healthz(self, request: Request) -> Response:
        """Alive: the event loop responds."""
        return json_response({"status": "ok"}, request)

    async def readyz(self, request: Request) -> Response:
        """Ready: at least one provider has a credential. Only clients learn more of a problem than what has it."""
        health = self.health()
        problems = health.problems if self._is_client(request) else [p.partition(": ")[0] for p in health.problems]
        body = {"status": health.state, "problems": problems}
        return json_response(body, request, 503 if health.state == "unavailable" else 200)

    def _is_client(self, request: Request) -> bool:
        try:
            self.keys.identify(request.scope)
        except Unauthorized:
            return False
        return True

    async def providers(self, request: Request) -> Response:
        """The providers, with their life cycle and number of credentials."""
        self.keys.identify(request.scope)
        return json_response(
            {"object": "list", "data": [self._provider(name) for name in self.catalog.providers]}, request
        )

    def _provider(self, name: str) -> dict[str, Any]:
        provider, pool = self.catalog.providers[name], self.pools[name]
        life = provider.lifecycle
        return {
            "id": name,
            "object": "provider",
            "plugin": self.catalog.owner("proxy_providers", name),
            "dialects": list(provider.dialects),
            "credentials": 0 if provider.credential_optional and pool.credentials[0].kind == "none" else len(pool),
            "cooling_down": len(pool.cooling_down()),
            "status": life.status,
            "until": life.until.isoformat() if life.until else None,
            "note": life.note or None,
            "link": life.link or None,
        }
