"""What is known of models, and how their tokens are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy_core.messages import (
    JsonObject,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTokens:
    """What to count, for a provider's model: a ``text``, or ``messages`` and ``tools`` in OpenAI's chat shape."""

    provider: str
    model: str
    text: str | None = None
    messages: Sequence[JsonObject] = field(default=(), repr=False)
    tools: Sequence[JsonObject] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """``tokens`` by ``tokenizer``, empty where none was used; ``exact`` if the provider would count as many.

    ``tokens`` is ``None`` where the tokenizer is known and not here; ``note`` says why, for the client.
    """

    tokens: int | None
    tokenizer: str = ""
    exact: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounter:
    """Counts tokens as some providers do. Lower ``rank`` first, then by name; the first that answers counts.

    ``count`` may be slow: it runs in a thread, several at once. It does not touch the network.
    ``None``: not a model of its. What it raises is logged once per cause, and the next one is asked.
    """

    name: str
    count: Callable[[CountTokens], TokenCount | None]
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What somebody says of a model; ``None``: does not say. Prices are US dollars per million tokens.

    ``context_length`` and ``max_output_tokens`` are tokens. ``capabilities`` are words such as
    ``function_calling``, ``vision``, ``reasoning``, with whether it has them. ``cached_price`` is of
    prompt tokens read from a cache, ``cache_write_price`` of those written to one.
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


#: A provider's name and its own model id, to what is known. Fast and pure.
FindModelInfo = Callable[[str, str], ModelInfo | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSource:
    """Where a newer table is: asked for every ``every_s``, with the validators of the last answer. ``parse`` may
    block and raises ``ValueError``; an answer that it cannot read changes nothing."""

    url: str
    every_s: float
    parse: Callable[[str], FindModelInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCatalog:
    """A table of models. Lower ``rank`` is believed first, then by name.

    ``load`` may block: it runs once, in a thread, when somebody first wants to know. What it raises
    is logged, and the table counts as empty. With a ``source`` the core gets newer ones, and keeps them on disk.
    """

    name: str
    load: Callable[[], FindModelInfo]
    rank: int = 0
    source: CatalogSource | None = None
