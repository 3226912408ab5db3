"""The cost of a response, if the price is known. Everything that concerns costs uses this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy_core.interfaces import ModelInfo, Provider
from proxy_core.messages import Usage
from proxy_core.models.info import PROVIDER, SETTINGS, Cards, has_price
from proxy_core.rotation.pool import Pool

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens; ``cached`` for prompt tokens read from a cache, ``cache_write`` written to one."""

    prompt: float
    completion: float
    cached: float
    cache_write: float

    def of(self, usage: Usage) -> float:
        fresh = max(0, usage.prompt - usage.cached - usage.cache_write)
        total = fresh * self.prompt + usage.completion * self.completion
        return (total + usage.cached * self.cached + usage.cache_write * self.cache_write) / _MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A price and its source: ``settings``, ``provider`` or a catalog's name."""

    price: Price
    source: str


_FREE = Priced(price=Price(prompt=0.0, completion=0.0, cached=0.0, cache_write=0.0), source=PROVIDER)


class Prices:
    """Prices by provider and its own model id, from settings, a flat-rate provider, then other metadata."""

    def __init__(
        self,
        cards: Cards,
        providers: Mapping[str, Provider] | None = None,
        pools: Mapping[str, Pool] | None = None,
    ) -> None:
        self._cards = cards
        self._providers = providers or {}
        self._pools = pools or {}

    def sure(self, provider: str, model: str, credential: str | None = None) -> bool:
        """Whether loading the catalogs would change nothing."""
        return self._cards.catalogs.loaded or self.priced(provider, model, credential) is not None

    async def load(self) -> None:
        await self._cards.catalogs.load()

    def priced(self, provider: str, model: str, credential: str | None = None) -> Priced | None:
        """``credential`` is the fingerprint of the credential that was used; ``None``: not known yet."""
        subscribed = self._subscribed(provider, credential)
        for source, card in self._cards.said(provider, model):
            if subscribed and source != SETTINGS:
                break
            if has_price(card):
                return Priced(price=price_of(card), source=source)
        return _FREE if subscribed else None

    def cost(self, provider: str, model: str, usage: Usage, credential: str | None = None) -> float | None:
        """US dollars; ``None`` if the price of the model is unknown."""
        priced = self.priced(provider, model, credential)
        return priced.price.of(usage) if priced is not None else None

    def _subscribed(self, provider: str, credential: str | None) -> bool:
        given = self._providers.get(provider)
        if given is None or not given.flat_rate:
            return False
        pool = self._pools.get(provider)
        kinds = {c.kind for c in pool.credentials if credential in (None, c.id)} if pool is not None else set()
        return not kinds or given.credential_kind in kinds


def price_of(card: ModelInfo) -> Price:
    """An unset price of prompt or completion is 0; an unset cache price is that of the prompt."""
    prompt = card.input_price or 0.0
    return Price(
        prompt=prompt,
        completion=card.output_price or 0.0,
        cached=card.cached_price if card.cached_price is not None else prompt,
        cache_write=card.cache_write_price if card.cache_write_price is not None else prompt,
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
