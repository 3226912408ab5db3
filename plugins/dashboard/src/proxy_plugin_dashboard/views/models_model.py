"""What the page of models shows: the models that clients see, with limits and prices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from proxy_core import ProcessStatus

PER_PAGE = 100
_MILLION = 1_000_000
_CAPABILITIES: Mapping[str, str] = {"function_calling": "tools", "tool_choice": "tool choice"}


class Row(Struct, frozen=True, kw_only=True):
    """Prices are US dollars per million tokens; ``source`` says where they come from."""

    id: str
    provider: str
    context: int | None
    output: int | None
    input_price: float | None
    output_price: float | None
    source: str
    abilities: Sequence[str]


class Problem(Struct, frozen=True, kw_only=True):
    """Why models of a provider are missing, or cannot be used now."""

    provider: str
    words: str


class ModelsModel(Struct, frozen=True, kw_only=True):
    rows: Sequence[Row]
    found: int
    total: int
    page: int
    last: int
    q: str
    problems: Sequence[Problem]
    names: Sequence[str]


def models_model(
    listed: Sequence[Mapping[str, Any]], problems: Sequence[Problem], query: Mapping[str, str]
) -> ModelsModel:
    """``listed`` is ``data`` of ``GET /v1/models``; ``query``: ``q`` searches, ``page`` counts from 1."""
    listed = [entry for entry in listed if _can_be_asked_for(entry["id"])]
    q, words = query.get("q", "").strip(), query.get("q", "").lower().split()
    rows = [row for entry in listed if _matches(row := _row(entry), words)]
    last = max(1, -(-len(rows) // PER_PAGE))
    asked = query.get("page", "")
    page = min(max(1, int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1), last)
    return ModelsModel(
        rows=rows[(page - 1) * PER_PAGE : page * PER_PAGE],
        found=len(rows),
        total=len(listed),
        page=page,
        last=last,
        q=q,
        problems=problems,
        names=[entry["id"] for entry in listed],
    )


def _can_be_asked_for(model: str) -> bool:
    """Half of a surrogate pair, which a provider's list may have, is no text: no request can name such a model."""
    return model.isprintable() or not any("\ud800" <= char <= "\udfff" for char in model)


def _matches(row: Row, words: Sequence[str]) -> bool:
    text = " ".join((row.id, row.provider, *row.abilities)).lower()
    return all(word in text for word in words)


def _row(entry: Mapping[str, Any]) -> Row:
    """Whatever a provider's own list has, only what the proxy knows about a model is read."""
    sources = _table(entry.get("_sources"))
    prices = _table(entry.get("pricing")) if "pricing" in sources else {}
    architecture = _table(entry.get("architecture")) if "architecture" in sources else {}
    capabilities = _table(entry.get("capabilities")) if "capabilities" in sources else {}
    return Row(
        id=entry["id"],
        provider=str(entry.get("owned_by") or ""),
        context=_whole(entry.get("context_length")) if "context_length" in sources else None,
        output=_whole(entry.get("max_completion_tokens")) if "max_completion_tokens" in sources else None,
        input_price=_per_million(prices.get("prompt")),
        output_price=_per_million(prices.get("completion")),
        source=str(sources.get("pricing") or ""),
        abilities=list(_abilities(architecture, capabilities)),
    )


def _abilities(architecture: Mapping[str, Any], capabilities: Mapping[str, Any]) -> Iterable[str]:
    inputs = architecture.get("input_modalities")
    seen = [kind for kind in inputs if isinstance(kind, str) and kind != "text"] if isinstance(inputs, list) else []
    yield from seen
    for name, has in capabilities.items():
        if has is True and not (name == "vision" and "image" in seen):
            yield _CAPABILITIES.get(name, name.replace("_", " "))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _per_million(value: object) -> float | None:
    return value * _MILLION if isinstance(value, int | float) else None


def without_account(statuses: Sequence[ProcessStatus]) -> Sequence[str]:
    return [provider.name for provider in statuses[0].providers if not provider.credential_count]


def problems_of(statuses: Sequence[ProcessStatus], lists: Iterable[Mapping[str, Any]]) -> Sequence[Problem]:
    """``lists``: the processes of ``GET /admin/models``. Nobody misses a provider for which there is no account."""
    found = {name: why for process in lists for name, why in process["problems"].items()}
    problems = [Problem(provider=name, words=f"did not give its list of models: {why}") for name, why in found.items()]
    for provider in statuses[0].providers:
        life = provider.lifecycle
        if not provider.credential_count:
            continue
        if life.status != "active":
            words = f"is {life.status}" + (f": {life.note}" if life.note else "")
            problems.append(Problem(provider=provider.name, words=words))
        if provider.cooling_down >= provider.credential_count:
            problems.append(Problem(provider=provider.name, words="none of its accounts can be used now"))
        if provider.circuit_breaker is not None:
            problems.append(
                Problem(provider=provider.name, words=f"fails for every account: {provider.circuit_breaker.message}")
            )
    return problems
