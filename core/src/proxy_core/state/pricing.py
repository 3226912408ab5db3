"""What a reply cost, where its price is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy_core.model import Usage
from proxy_core.settings import ModelOptions, ProviderSettings

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens; ``cached`` are prompt tokens read from a cache."""

    prompt: float
    completion: float
    cached: float

    def of(self, usage: Usage) -> float:
        fresh = max(0, usage.prompt - usage.cached)
        total = fresh * self.prompt + usage.cached * self.cached + usage.completion * self.completion
        return total / _MILLION


class Prices:
    """Prices by provider and the provider's own model id."""

    def __init__(self, providers: Mapping[str, ProviderSettings]) -> None:
        self._known: dict[tuple[str, str], Price] = {}
        for provider, settings in providers.items():
            for name, options in settings.models.items():
                price = _price(options)
                if price is not None:
                    self._known[provider, options.id or name] = price

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        """US dollars; ``None`` where nobody said what this model costs."""
        price = self._known.get((provider, model))
        return price.of(usage) if price is not None else None


def _price(options: ModelOptions) -> Price | None:
    if options.input_price is None and options.output_price is None:
        return None
    prompt = options.input_price or 0.0
    cached = options.cached_price if options.cached_price is not None else prompt
    return Price(prompt=prompt, completion=options.output_price or 0.0, cached=cached)
