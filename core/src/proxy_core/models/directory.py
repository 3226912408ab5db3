"""Which models there are, according to settings and to upstreams' model lists.

Nothing is fetched at startup. A list is used for ``routing.models_ttl_s``; an empty or failed one
only for a short while, and it never replaces a good one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.dialects.common import MAX_MODEL_NAME
from proxy_core.errors import PluginFailed
from proxy_core.interfaces import ListModels, ModelInfo, ModelSpec, Provider
from proxy_core.messages import UpstreamRequest
from proxy_core.models.routing import Router
from proxy_core.network.errors import ResponseTooLarge, TransportError
from proxy_core.network.upstream import Upstream
from proxy_core.records.redact import SecretScrubber
from proxy_core.rotation.pool import Pool
from proxy_core.settings.schema import ProviderSettings

log = logging.getLogger("proxy_core.models")

_TIMEOUT_S = 10.0
#: How long a list of models waits for one provider.
WAIT_S = 2.0
_FAILED_TTL_S = 30.0
_MAX_LIST_BYTES = 32 * 1024 * 1024
_MAX_PAGES = 20


class _Known(Struct, frozen=True):
    models: Mapping[str, ModelSpec]
    until: float


class ModelDirectory(Struct, eq=False):
    """The models of all providers, fetched on demand."""

    _providers: Mapping[str, Provider]
    _settings: Mapping[str, ProviderSettings]
    _pools: Mapping[str, Pool]
    _router: Router
    _upstream: Upstream
    scrub: SecretScrubber
    _clock: Clock
    _ttl_s: float
    _known: dict[str, _Known] = field(default_factory=dict)
    #: Why a provider's list could not be read the last time, in words that are safe for clients.
    problems: dict[str, str] = field(default_factory=dict)
    #: The queries under way, and when they began.
    _asking: dict[str, tuple[asyncio.Task[None], float]] = field(default_factory=dict)
    _queries: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    async def __aenter__(self) -> Self:
        await self._queries.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task, _ in self._asking.values():
            task.cancel()
        await self._queries.__aexit__(None, None, None)

    async def all(self, wait_s: float = WAIT_S) -> dict[str, ModelSpec]:
        """Public id to model: names from ``[models]`` first, then each provider's, filtered and sorted."""
        lists = await asyncio.gather(*(self._of(provider, wait_s) for provider in self._providers.values()))
        found = {name: ModelSpec(id=name, owned_by="proxy-core") for name in self._router.public_models}
        for provider, models in zip(self._providers.values(), lists, strict=True):
            for model in sorted(models, key=lambda m: m.id):
                if self._router.allowed(provider.name, model.id):
                    found.setdefault(f"{provider.prefix or provider.name}/{model.id}", model)
        return found

    async def find(self, model: str) -> ModelSpec | None:
        """One model by its public id; only its own provider is asked."""
        if self._router.offers(model):
            return ModelSpec(id=model, owned_by="proxy-core")
        addressed = self._router.addressed(model)
        if addressed is None:
            return None
        provider, upstream_model = addressed
        if not self._router.allowed(provider.name, upstream_model):
            return None
        return next((spec for spec in await self._of(provider) if spec.id == upstream_model), None)

    def listed(self, provider: str, model: str) -> ModelInfo | None:
        """What the provider's list says about its model, if it has been read; fetches nothing."""
        known = self._known.get(provider)
        if known is not None and model in known.models:
            return known.models[model].info
        given = self._providers.get(provider)
        return next((spec.info for spec in given.models if spec.id == model), None) if given else None

    async def _of(self, provider: Provider, wait_s: float = WAIT_S) -> Sequence[ModelSpec]:
        if self._router.ended(provider.name):
            return ()
        settings = self._settings.get(provider.name, ProviderSettings())
        configured = [ModelSpec(id=name) for name in settings.models]
        # A provider's models are not offered without a credential for it.
        offered = provider.models if self._pools[provider.name].credentials else ()
        known = {spec.id: spec for spec in (*configured, *offered)}
        if provider.list_models is not None and settings.discover and not provider.models_complete:
            for spec in await self._discovered(provider, provider.list_models, wait_s):
                known.setdefault(spec.id, spec)
        return list(known.values())

    async def _discovered(self, provider: Provider, listing: ListModels, wait_s: float) -> Sequence[ModelSpec]:
        """What is known once the provider has answered, or after ``wait_s``; its answer is then awaited elsewhere."""
        name, now = provider.name, self._clock.monotonic()
        known = self._known.get(name)
        if known is None or now >= known.until:
            if name not in self._asking:
                self._asking[name] = self._queries.create_task(self._ask(provider, listing)), now
            task, since = self._asking[name]
            with suppress(TimeoutError):
                async with self._clock.timeout(max(0.0, since + wait_s - now)):
                    await asyncio.shield(task)
            known = self._known.get(name)
        return list(known.models.values()) if known is not None else ()

    async def _ask(self, provider: Provider, listing: ListModels) -> None:
        try:
            models = await self._fetch(provider, listing)
            known = self._known.get(provider.name)
            # A model without a name, or with one that no request may have, could not be asked for.
            named = {spec.id: spec for spec in models if 0 < len(spec.id) <= MAX_MODEL_NAME}
            kept = named or (known.models if known else {})
            until = self._clock.monotonic() + (self._ttl_s if models else _FAILED_TTL_S)
            self._known[provider.name] = _Known(kept, until)
        finally:
            del self._asking[provider.name]

    async def _pages(
        self, provider: str, listing: ListModels, request: UpstreamRequest
    ) -> tuple[str, Sequence[ModelSpec] | None]:
        """All pages of a list, or what is wrong with the first."""
        found: list[ModelSpec] = []
        following: UpstreamRequest | None = request
        for page in range(_MAX_PAGES):
            if following is None:
                break
            async with self._upstream.exchange(following, provider=provider) as response:
                if response.status != 200 and not page:
                    return f"status {response.status}", None
                if response.status != 200:
                    break
                body = self.scrub.bytes(await response.read(_MAX_LIST_BYTES))
            found += listing.parse(body)
            following = listing.more(following, body) if listing.more is not None else None
        return "", found

    async def _fetch(self, provider: Provider, listing: ListModels) -> Sequence[ModelSpec]:
        """Try credentials in turn until one gets a list; empty if none does."""
        self.problems.pop(provider.name, None)
        for credential in self._pools[provider.name].credentials:
            try:
                async with self._clock.timeout(_TIMEOUT_S):
                    problem, models = await self._pages(provider.name, listing, listing.request(credential))
                if models is not None:
                    return models
            except (TransportError, TimeoutError, ResponseTooLarge) as error:
                self.problems[provider.name] = str(error) or "there was no complete answer in time"
                log.info("models of %s: %s", provider.name, error or type(error).__name__)
                return ()  # another credential would not reach it either
            except Exception as error:  # a plugin's parser may fail in any way
                what = error.cause if isinstance(error, PluginFailed) else type(error).__name__
                problem = f"unreadable ({what})"
            self.problems[provider.name] = problem
            log.info("models of %s: %s with credential %s", provider.name, problem, credential.id)
        return ()
