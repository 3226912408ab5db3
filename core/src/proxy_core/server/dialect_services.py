"""What operations may ask of the proxy, on behalf of one client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.credentials.quotas import QuotaAsker
from proxy_core.dialects import openai_chat
from proxy_core.dialects.common import MAX_MODEL_NAME
from proxy_core.errors import ModelNotFound, PluginFailed, Unauthorized
from proxy_core.interfaces import (
    CountedTokens,
    CountTokens,
    Deployment,
    EstimatedCost,
    ListedModel,
    ModelInfo,
    ModelSpec,
    ProcessStatus,
    ProxyRequest,
    UsageRow,
)
from proxy_core.messages import ChatRequest, JsonObject, Usage
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import ModelInfos
from proxy_core.models.pricing import Prices, with_price
from proxy_core.models.routing import Router
from proxy_core.models.suggestions import Suggestions
from proxy_core.models.token_count import TokenCounting, without_own
from proxy_core.pipeline.upstream_count import UpstreamCounting
from proxy_core.settings.schema import DeploymentRoute
from proxy_core.state.budgets import Budgets
from proxy_core.state.kept import KeptValues
from proxy_core.state.shared import SharedState
from proxy_core.status.view import StatusView

log = logging.getLogger("proxy_core.operation")


class ModelKnowledge(Struct, frozen=True, kw_only=True):
    """Everything about models. ``routes`` are ``[models]`` of the settings."""

    directory: ModelDirectory
    budgets: Budgets
    suggestions: Suggestions
    router: Router
    routes: Mapping[str, DeploymentRoute]
    model_infos: ModelInfos
    prices: Prices
    counting: TokenCounting
    upstream_counting: UpstreamCounting
    state: SharedState
    kept: KeptValues
    status: StatusView
    quotas: QuotaAsker
    started_at: int

    def for_client(self, client: str, hops: int, failed: Callable[[PluginFailed], object]) -> DialectServices:
        """``hops``: through how many of these proxies the client's request has come. ``failed`` is called for each
        plugin that fails, also if another one takes its place."""
        return DialectServices(self, client, hops, failed)

    def listed(self, public_id: str, model: ModelSpec) -> ListedModel:
        return ListedModel(
            id=public_id,
            created=model.created or self.started_at,
            owned_by=model.owned_by or public_id.partition("/")[0],
            extra=model.extra,
        )

    def described(self, model: ListedModel) -> ListedModel:
        """With its model info: its own settings first, then the info of its first deployment."""
        entry = self.router.entry(model.id)
        route = self.routes[entry] if entry is not None else None
        if route is not None:
            deployments = self.router.deployments(model.id)
            if not deployments:
                return model
            provider, upstream_model = deployments[0].provider.name, deployments[0].model
        else:
            addressed = self.router.addressed(model.id)
            assert addressed is not None  # every listed model is addressable
            provider, upstream_model = addressed[0].name, self.model_infos.own_id(addressed[0].name, addressed[1])
        sourced = self.model_infos.info(provider, upstream_model, route)
        priced = self.prices.priced(provider, upstream_model)
        sources = {name: source for name, source in sourced.sources.items() if name != "prices"}
        if priced is not None:
            sources["prices"] = priced.source
        return replace(model, info=with_price(sourced.info, priced.price if priced else None), sources=sources)


class DialectServices:
    """The services for one client. Without a client, at addresses that need no key, they are refused."""

    def __init__(
        self, knowledge: ModelKnowledge, client: str, hops: int, failed: Callable[[PluginFailed], object]
    ) -> None:
        self._knowledge = knowledge
        self._client = client
        self._hops = hops
        self._failed = failed

    async def models(self, *, described: bool = False) -> Sequence[ListedModel]:
        self._check_client()
        known = self._knowledge
        every = await known.directory.all()
        models = [known.listed(n, m) for n, m in every.items() if known.budgets.allows(self._client, n)]
        if not described:
            return models
        await known.model_infos.catalogs.load()
        # In a thread: describing thousands of models takes a tenth of a second.
        return await asyncio.to_thread(lambda: [known.described(model) for model in models])

    async def model(self, model: str, *, described: bool = False) -> ListedModel:
        self._check_client()
        known = self._knowledge
        found = await known.directory.find(model) if known.budgets.allows(self._client, model) else None
        if found is None:
            shown = known.directory.scrub.text(model[:MAX_MODEL_NAME])
            error = ModelNotFound(f"The model {shown!r} does not exist.")
            await self._advise(error, model)
            raise error
        if not described:
            return known.listed(model, found)
        await known.model_infos.catalogs.load()
        return known.described(known.listed(model, found))

    async def count_tokens(self, chat: ChatRequest, body: JsonObject) -> CountedTokens:
        first, hops = await self._deployment(chat.model), self._hops
        request = ProxyRequest(
            id="count",
            client=self._client,
            dialect=chat.dialect,
            model=chat.model,
            stream=False,
            body={**body, "model": chat.model},
            hops=hops,
        )
        counted = await self._knowledge.upstream_counting.count(request, first)
        if isinstance(counted, CountedTokens):
            return counted
        readable = without_own(chat) if chat.dialect in first.provider.dialects else chat
        sent = openai_chat.encode(readable)  # counters read this shape, whatever the client's dialect
        other = await self.count(chat.model, messages=sent["messages"], tools=sent.get("tools") or ())
        return replace(other, note=counted) if counted and not other.exact else other

    async def count(
        self,
        model: str,
        *,
        text: str | None = None,
        messages: Sequence[JsonObject] = (),
        tools: Sequence[JsonObject] = (),
    ) -> CountedTokens:
        first = await self._deployment(model)
        asked = CountTokens(provider=first.provider.name, model=first.model, text=text, messages=messages, tools=tools)
        return await self._knowledge.counting.count(asked, self._failed)

    async def cost(self, model: str, usage: Usage) -> EstimatedCost:
        first, prices = await self._deployment(model), self._knowledge.prices
        if not prices.sure(first.provider.name, first.model):
            await prices.load()
        priced = prices.priced(first.provider.name, first.model)
        if priced is None:
            return EstimatedCost(deployment=str(first))
        listed = with_price(ModelInfo(), priced.price)
        return EstimatedCost(
            deployment=str(first), cost=round(priced.price.of(usage), 12), prices=listed, source=priced.source
        )

    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        self._check_client()
        return await self._knowledge.state.usage(since, until)

    async def kept(self, name: str) -> bytes | None:
        self._check_client()
        return await self._knowledge.kept.kept(self._client, name)

    async def forget(self, name: str) -> bool:
        self._check_client()
        return await self._knowledge.kept.forget(self._client, name)

    async def refresh_quotas(self, provider: str | None = None, credential: str | None = None) -> int:
        self._check_client()
        return await self._knowledge.quotas.ask_now(provider, credential)

    def status(self, *, credentials: bool = True) -> ProcessStatus:
        self._check_client()
        return self._knowledge.status.read(credentials=credentials)

    async def _deployment(self, model: str) -> Deployment:
        """The first one. Raises ``ModelNotFound``, ``Forbidden``."""
        self._check_client()
        self._knowledge.budgets.check_model(self._client, model)
        try:
            return self._knowledge.router.resolve(model)[0]
        except ModelNotFound as error:
            await self._advise(error, model)
            raise

    async def _advise(self, error: ModelNotFound, model: str) -> None:
        """Say what to do, as where the model would be used. A client limited to some models sees only those."""
        known = self._knowledge
        if not known.budgets.limits(self._client).models:
            await known.suggestions.add(error, known.directory.scrub.text(model[:MAX_MODEL_NAME]))

    def _check_client(self) -> None:
        if not self._client:
            raise Unauthorized("An API key is required: Authorization: Bearer KEY.")
