"""What a response cost, if its price is known: the only place that determines prices."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces import ModelInfo, Provider, RequestRecord
from proxy_core.messages import Usage
from proxy_core.models.info import PROVIDER, SETTINGS, ModelInfos, has_price
from proxy_core.rotation.pool import Pool

_MILLION = 1_000_000
#: Prices kept in memory; clients choose the models.
_MAX_KNOWN = 1000


class Price(Struct, frozen=True, kw_only=True):
    """US dollars per million tokens. ``cached``: prompt tokens read from a cache; ``cache_write``: written to one."""

    prompt: float
    completion: float
    cached: float
    cache_write: float

    def of(self, usage: Usage) -> float:
        fresh = max(0, usage.prompt - usage.cached - usage.cache_write)
        total = fresh * self.prompt + usage.completion * self.completion
        return (total + usage.cached * self.cached + usage.cache_write * self.cache_write) / _MILLION


class Priced(Struct, frozen=True, kw_only=True):
    """A price and its source: ``settings``, ``provider`` or a catalog's name."""

    price: Price
    source: str


_FREE = Priced(price=Price(prompt=0.0, completion=0.0, cached=0.0, cache_write=0.0), source=PROVIDER)


class Prices:
    """Prices by provider and its own model id, from settings, a provider with a flat rate, then model info."""

    def __init__(
        self,
        infos: ModelInfos,
        providers: Mapping[str, Provider] | None = None,
        pools: Mapping[str, Pool] | None = None,
    ) -> None:
        self._infos = infos
        self._providers = providers or {}
        self._pools = pools or {}
        self._known: dict[tuple[str, str, bool], tuple[tuple[object, ...], Priced | None]] = {}

    def sure(self, provider: str, model: str, credential: str | None = None) -> bool:
        """Whether loading the catalogs could not change the price."""
        return self._infos.catalogs.loaded or self.priced(provider, model, credential) is not None

    async def load(self) -> None:
        await self._infos.catalogs.load()

    def priced(self, provider: str, model: str, credential: str | None = None) -> Priced | None:
        """``credential`` is the fingerprint of the one that was used; ``None`` if it is not known yet."""
        subscribed, seen = self._subscribed(provider, credential), self._infos.seen(provider, model)
        key = provider, model, subscribed
        known = self._known.get(key)
        if known is None or any(new is not old for new, old in zip(seen, known[0], strict=True)):
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = seen, self._found(provider, model, subscribed)
        return known[1]

    def _found(self, provider: str, model: str, subscribed: bool) -> Priced | None:
        for source, info in self._infos.sourced(provider, model):
            if subscribed and source != SETTINGS:
                break
            if has_price(info):
                return Priced(price=price_of(info), source=source)
        return _FREE if subscribed else None

    def cost(self, provider: str, model: str, usage: Usage, credential: str | None = None) -> float | None:
        """US dollars; ``None`` if no source has a price for this model."""
        priced = self.priced(provider, model, credential)
        return priced.price.of(usage) if priced is not None else None

    def of_record(self, record: RequestRecord) -> float | None:
        """What a request cost; ``None`` also while catalogs that may have its price are not loaded."""
        usage, answered = record.usage, record.decisive
        if usage is None or answered is None:
            return None
        provider, _, model = answered.deployment.partition("/")
        return self.cost(provider, model, usage, answered.credential)

    def _subscribed(self, provider: str, credential: str | None) -> bool:
        given = self._providers.get(provider)
        if given is None or not given.flat_rate:
            return False
        pool = self._pools.get(provider)
        kinds = {c.kind for c in pool.credentials if credential in (None, c.id)} if pool is not None else set()
        return not kinds or given.credential_kind in kinds


def price_of(info: ModelInfo) -> Price:
    """Without a price for prompt or completion it is 0; without one for the cache it is the prompt's."""
    prompt = info.input_price or 0.0
    return Price(
        prompt=prompt,
        completion=info.output_price or 0.0,
        cached=info.cached_price if info.cached_price is not None else prompt,
        cache_write=info.cache_write_price if info.cache_write_price is not None else prompt,
    )


def with_price(info: ModelInfo, price: Price | None) -> ModelInfo:
    """``info`` with this price and no other."""
    if price is None:
        return replace(info, input_price=None, output_price=None, cached_price=None, cache_write_price=None)
    return replace(
        info,
        input_price=price.prompt,
        output_price=price.completion,
        cached_price=price.cached,
        cache_write_price=price.cache_write,
    )
