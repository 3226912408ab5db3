"""Model metadata and token counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from proxy_core.messages import JsonObject, repr_without

__all__ = ["CountTokens", "ModelInfo", "TokenCount", "TokenCounter"]


class CountTokens(Struct, frozen=True, kw_only=True):
    """What to count, for a provider's model: a ``text``, or ``messages`` and ``tools`` in OpenAI's chat shape."""

    __repr__ = repr_without("messages", "tools")

    provider: str
    model: str
    text: str | None = None
    messages: Sequence[JsonObject] = ()
    tools: Sequence[JsonObject] = ()


class TokenCount(Struct, frozen=True, kw_only=True):
    """``tokens`` according to ``tokenizer`` (empty if none was used); ``exact`` if the provider would count the same.

    ``tokens`` is ``None`` if the tokenizer is known but not installed; ``note`` tells the client why.
    """

    tokens: int | None
    tokenizer: str = ""
    exact: bool = False
    note: str = ""


class TokenCounter(Struct, frozen=True, kw_only=True):
    """Counts tokens as some providers do. Lower ``rank`` first, then by name; the first one that answers is used.

    ``count`` may be slow: it runs in a thread, several at once. It does not touch the network.
    ``None``: it does not know the model. An exception is logged once per cause, and the next counter is called.
    """

    name: str
    count: Callable[[CountTokens], TokenCount | None]
    rank: int = 0


class ModelInfo(Struct, frozen=True, kw_only=True):
    """Metadata of a model from one source; ``None``: unknown. Prices are US dollars per million tokens.

    ``context_length`` and ``max_output_tokens`` are in tokens. ``capabilities`` maps names such as
    ``function_calling``, ``vision`` or ``reasoning`` to whether the model has them. ``cached_price`` applies to
    prompt tokens read from a cache, ``cache_write_price`` to those written to one.
    """

    context_length: int | None = None
    max_output_tokens: int | None = None
    input_modalities: Sequence[str] | None = None
    output_modalities: Sequence[str] | None = None
    capabilities: Mapping[str, bool] | None = None
    input_price: float | None = None
    output_price: float | None = None
    cached_price: float | None = None
    cache_write_price: float | None = None
