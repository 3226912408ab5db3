"""What the proxy says of itself: health, models, providers. Never a key, a header or a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy_core.dialects import gemini_common, openai_common
from proxy_core.dialects.common import json_bytes
from proxy_core.errors import BadRequest, ModelNotFound, ProxyError
from proxy_core.interfaces import ModelSpec
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import Cards
from proxy_core.models.pricing import Prices
from proxy_core.models.routing import Router
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.pool import Pool
from proxy_core.server.auth import ClientKeys
from proxy_core.server.errors import error_headers
from proxy_core.server.model_entry import bare, known_fields
from proxy_core.server.request_headers import id_headers, read
from proxy_core.settings.schema import DeploymentRoute
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
    router: Router
    routes: Mapping[str, DeploymentRoute]
    cards: Cards
    prices: Prices
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
        card = await self._cards(request)
        # In a thread: of thousands of models it takes a tenth of a second to say what is known.
        data = await asyncio.to_thread(lambda: [card(name, model) for name, model in found.items()])
        return json_response({"object": "list", "data": data}, request)

    async def model(self, request: Request) -> Response:
        client = self.keys.identify(request.scope)
        name = request.path_params["model"]
        found = await self.directory.find(name) if self.budgets.allows(client, name) else None
        if found is None:
            raise ModelNotFound(f"The model {name!r} does not exist.")
        if _googles(request):
            return json_response(_google_card(name, found), request)
        card = await self._cards(request)
        return json_response(card(name, found), request)

    async def providers(self, request: Request) -> Response:
        self.keys.identify(request.scope)
        return json_response(
            {"object": "list", "data": [self._provider(name) for name in self.catalog.providers]}, request
        )

    async def _cards(self, request: Request) -> Callable[[str, ModelSpec], dict[str, Any]]:
        """How models are told: with all that is known, or bare with ``?enriched=false``. Raises ``BadRequest``."""
        wanted = request.query_params.get("enriched", "true").lower()
        if wanted not in ("true", "1", "false", "0"):
            raise BadRequest("'enriched' is true or false.", param="enriched")
        if wanted in ("false", "0"):
            return lambda public_id, model: bare(public_id, model, self.started_at)
        await self.cards.catalogs.load()
        return self._enriched

    def _enriched(self, public_id: str, model: ModelSpec) -> dict[str, Any]:
        """What is known of a public model is what is known of its first deployment, after its own settings."""
        route = self.routes.get(public_id)
        if route is not None:
            deployments = self.router.deployments(public_id)
            if not deployments:
                return {**bare(public_id, model, self.started_at), "_sources": {}}
            provider, upstream_model = deployments[0].provider.name, deployments[0].model
        else:
            addressed = self.router.addressed(public_id)
            assert addressed is not None  # as it is listed
            provider, upstream_model = addressed[0].name, self.cards.own_id(addressed[0].name, addressed[1])
        facts, priced = self.cards.facts(provider, upstream_model, route), self.prices.priced(provider, upstream_model)
        return {**bare(public_id, model, self.started_at), **known_fields(facts, priced)}

    def _provider(self, name: str) -> dict[str, Any]:
        provider, pool = self.catalog.providers[name], self.pools[name]
        life = provider.lifecycle
        return {
            "id": name,
            "object": "provider",
            "plugin": self.catalog.owner("proxy_providers", name),
            "dialects": list(provider.dialects),
            "credentials": 0 if provider.credential_optional and pool.credentials[0].kind == "none" else len(pool),
            "resting": len(pool.cooling_down()),
            "status": life.status,
            "until": life.until.isoformat() if life.until else None,
            "note": life.note or None,
            "link": life.link or None,
        }
