"""Reads what vendors' model lists say about a model, each under names of its own. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from proxy_core import Extra, ModelInfo

#: Vendors' names for the limits.
_CONTEXT = ("context_length", "context_window", "max_context_length", "max_model_len")
_OUTPUT = ("max_completion_tokens", "max_output_tokens")
_MILLION = 1_000_000
#: No model costs a thousand dollars per million tokens: such a number has another unit.
_DEAREST = 1_000.0


def read_listing(extra: Extra) -> ModelInfo:
    """The fields of one entry that are understood.

    Prices are read in the form that gateways use: ``{"pricing": {"prompt": "0.000003", "completion": ...,
    "input_cache_read", "input_cache_write"}}``, US dollars per token, as text. Others send numbers per
    million tokens under the same names, so only text is accepted.
    """
    architecture, top = _object(extra, "architecture"), _object(extra, "top_provider")
    prices, capabilities = _object(extra, "pricing"), _object(extra, "capabilities")
    known = {word: has for word, has in capabilities.items() if isinstance(has, bool)}
    return ModelInfo(
        context_length=_tokens(extra, _CONTEXT),
        max_output_tokens=_tokens(extra, _OUTPUT) or _tokens(top, _OUTPUT),
        input_modalities=_words(architecture, "input_modalities"),
        output_modalities=_words(architecture, "output_modalities"),
        capabilities=known or None,
        input_price=_price(prices, "prompt"),
        output_price=_price(prices, "completion"),
        cached_price=_price(prices, "input_cache_read"),
        cache_write_price=_price(prices, "input_cache_write"),
    )


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _tokens(value: Mapping[str, Any], names: Sequence[str]) -> int | None:
    found = (value.get(name) for name in names)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)


def _words(value: Mapping[str, Any], key: str) -> list[str] | None:
    found = value.get(key)
    return [word for word in found if isinstance(word, str)] if isinstance(found, list) else None


def _price(prices: Mapping[str, Any], key: str) -> float | None:
    """US dollars per million tokens. A negative number means "it depends"."""
    found = prices.get(key)
    if not isinstance(found, str):
        return None
    try:
        price = float(found) * _MILLION
    except ValueError:
        return None
    return round(price, 9) if math.isfinite(price) and 0 <= price < _DEAREST else None
