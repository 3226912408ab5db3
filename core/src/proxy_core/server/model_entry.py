"""A model's entry in ``GET /v1/models``: what its provider said, and what is known besides."""

from __future__ import annotations

from typing import Any

from proxy_core.interfaces import ModelSpec
from proxy_core.models.info import Facts
from proxy_core.models.pricing import Price, Priced

_MILLION = 1_000_000


def bare(public_id: str, model: ModelSpec, started_at: int) -> dict[str, Any]:
    """OpenAI's members, after whatever the provider's own list had."""
    card = {"id": public_id, "object": "model", "created": model.created or started_at}
    return {**model.extra, **card, "owned_by": model.owned_by or public_id.partition("/")[0]}


def known_fields(facts: Facts, priced: Priced | None) -> dict[str, Any]:
    """What is known, in the words of OpenRouter's list; prices are US dollars per token.

    ``_sources`` says of each member who knew it: ``settings``, ``provider``, or a catalog's name.
    """
    card, said, sources = facts.card, {}, {}

    def tell(name: str, value: Any, source: str | None) -> None:
        if value is not None and source is not None:
            said[name], sources[name] = value, source

    tell("context_length", card.context_length, facts.sources.get("context_length"))
    tell("max_completion_tokens", card.max_output_tokens, facts.sources.get("max_output_tokens"))
    if priced is not None:
        tell("pricing", pricing(priced.price), priced.source)
    modalities = {
        name: list(value)
        for name in ("input_modalities", "output_modalities")
        if (value := getattr(card, name)) is not None
    }
    if modalities:
        tell("architecture", modalities, ", ".join(dict.fromkeys(facts.sources[name] for name in modalities)))
    tell("capabilities", dict(card.capabilities) if card.capabilities else None, facts.sources.get("capabilities"))
    return {**said, "_sources": sources}


def pricing(price: Price) -> dict[str, float]:
    """US dollars per token."""
    per_token = {
        "prompt": price.prompt,
        "completion": price.completion,
        "cached_input": price.cached,
        "cache_write": price.cache_write,
    }
    return {name: float(f"{value / _MILLION:.12g}") for name, value in per_token.items()}
