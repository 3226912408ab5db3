"""What the proxy says of itself: health, models, providers. Never a key, a header or a prompt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy_core.catalog import Catalog
from proxy_core.credentials.pool import Pool
from proxy_core.dialects import gemini_common, openai_common
from proxy_core.dialects.common import json_bytes
from proxy_core.errors import ModelNotFound, ProxyError
from proxy_core.interfaces import ModelSpec
from proxy_core.pipeline.discovery import ModelDirectory
from proxy_core.server.auth import ClientKeys
from proxy_core.server.endpoint import error_headers
from proxy_core.server.said import id_headers, read
from proxy_core.state.budgets import Budgets

Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: object, request: Request, status: int = 200) -> Response:
    response = Response(json_bytes(value), status_code=status, media_type="application/json")
    response.raw_headers.extend(id_headers(read(request.scope["headers"]).request_id))
    return response


def error_response(error: ProxyError, request: Request) -> Response:
    words = gemini_common if _googles(request) else openai_common
    response = json_response({"error": words.error_object(error)}, request, error.status)
    response.raw_headers.extend(error_headers(error))
    return response


def _googles(request: Request) -> bool:
    """One of Google's clients asks: by its path, or under ``/v1`` by its headers or its key in the address."""
    if request.url.path.startswith("/v1beta/") or "key" in request.query_params:
        return True
    return "x-goog-api-key" in request.headers or "x-goog-api-client" in request.headers


def _google_card(public_id: str, model: ModelSpec) -> dict[str, Any]:
    """What is known of a model's limits is in the provider's own words, and left out here."""
    methods = ["generateContent", "streamGenerateContent"]
    return {"name": f"models/{public_id}", "displayName": public_id, "supportedGenerationMethods": methods}


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspection:
    """The read-only endpoints."""

    catalog: Catalog
    pools: Mapping[str, Pool]
    directory: ModelDirectory
    keys: ClientKeys
    budgets: Budgets
    started_at: int
    problems: Callable[[], list[str]]

    async def root(self, request: Request) -> Response:
        return json_response({"service": "proxy-core", "status": "ok"}, request)

    async def healthz(self, request: Request) -> Response:
        """Alive: the event loop answers."""
        return json_response({"status": "ok"}, request)

    async def readyz(self, request: Request) -> Response:
        """Able to serve: some provider has a credential. Degradations are named, without detail."""
        ready = any(len(pool) for pool in self.pools.values())
        problems = self.problems() if ready else [*self.problems(), "no provider has a credential"]
        status = "unavailable" if not ready else "degraded" if problems else "ok"
        return json_response({"status": status, "problems": problems}, request, 200 if ready else 503)

    async def models(self, request: Request) -> Response:
        client = self.keys.identify(request.scope)
        every = await self.directory.all()
        found = {name: model for name, model in every.items() if self.budgets.allows(client, name)}
        if _googles(request):
            return json_response({"models": [_google_card(i, m) for i, m in found.items()]}, request)
        return json_response({"object": "list", "data": [self._card(i, m) for i, m in found.items()]}, request)

    async def model(self, request: Request) -> Response:
        client = self.keys.identify(request.scope)
        name = request.path_params["model"]
        found = await self.directory.find(name) if self.budgets.allows(client, name) else None
        if found is None:
            raise ModelNotFound(f"The model {name!r} does not exist.")
        if _googles(request):
            return json_response(_google_card(name, found), request)
        return json_response(self._card(name, found), request)

    async def providers(self, request: Request) -> Response:
        self.keys.identify(request.scope)
        return json_response(
            {"object": "list", "data": [self._provider(name) for name in self.catalog.providers]}, request
        )

    def _card(self, public_id: str, model: ModelSpec) -> dict[str, Any]:
        card = {"id": public_id, "object": "model", "created": model.created or self.started_at}
        return {**model.extra, **card, "owned_by": model.owned_by or public_id.partition("/")[0]}

    def _provider(self, name: str) -> dict[str, Any]:
        provider, pool = self.catalog.providers[name], self.pools[name]
        life = provider.lifecycle
        return {
            "id": name,
            "object": "provider",
            "plugin": self.catalog.owner("proxy_providers", name),
            "dialects": list(provider.dialects),
            "credentials": 0 if provider.anonymous and pool.credentials[0].kind == "none" else len(pool),
            "resting": len(pool.all_resting()),
            "status": life.status,
            "until": life.until.isoformat() if life.until else None,
            "note": life.note or None,
            "link": life.link or None,
        }
