"""Usage files: totals by key and model. They hold no days: each total is one row, on the day of its last use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

#: The newest layout that is known.
_NEWEST = 2


class OldTotal(Struct, frozen=True, kw_only=True):
    """``accessor`` is what the old proxy called a credential: a key, a file, or ``env://provider/1``."""

    provider: str
    accessor: str
    model: str
    day: date
    requests: int
    failures: int
    prompt: int
    cached: int
    cache_write: int
    completion: int
    reasoning: int
    cost: float


def totals(file: Path, data: Mapping[str, Any], today: date) -> Iterator[OldTotal]:
    """Raises ``ValueError`` for a layout that is newer than what is known."""
    version = data.get("schema_version")
    if isinstance(version, int) and version > _NEWEST:
        raise ValueError(f"its schema_version is {version}; {_NEWEST} is the newest that is known here")
    of_file = file.stem.removeprefix("usage_")
    if "credentials" in data or "key_states" in data:
        for name, about in _tables(data.get("credentials") or data.get("key_states")):
            provider, accessor = _text(about, "provider") or of_file, _text(about, "accessor") or name
            for model, usage in _tables(about.get("model_usage")):
                counted = usage.get("totals")
                yield from _total(provider, accessor, model, counted, _day(counted, today))
    else:
        yield from _first_layout(data, today)


def _first_layout(data: Mapping[str, Any], today: date) -> Iterator[OldTotal]:
    """``key_usage.json``: what was before today in ``global``, today's in ``daily``, or all of it in ``models``."""
    for accessor, about in _tables(data):
        for part in ("global", "daily", ""):
            outer = about.get(part) if part else about
            if not isinstance(outer, Mapping):
                continue
            day = min(_iso(outer.get("date")) or _iso(about.get("last_daily_reset")) or today, today)
            for model, counted in _tables(outer.get("models")):
                provider = model.partition("/")[0] if "/" in model else ""
                yield from _total(provider, accessor, model, counted, day)


def _total(provider: str, accessor: str, model: str, counted: Any, day: date) -> Iterator[OldTotal]:
    if not isinstance(counted, Mapping):
        return
    succeeded, failed = _number(counted, "success_count"), _number(counted, "failure_count")
    cached, written = _number(counted, "prompt_tokens_cache_read"), _number(counted, "prompt_tokens_cache_write")
    reasoning = _number(counted, "thinking_tokens")
    completion = _number(counted, "output_tokens") or _number(counted, "completion_tokens") + reasoning
    total = OldTotal(
        provider=provider.lower(),
        accessor=accessor,
        model=model.removeprefix(f"{provider}/"),
        day=day,
        requests=_number(counted, "request_count") or succeeded + failed,
        failures=failed,
        prompt=_number(counted, "prompt_tokens") + cached + written,
        cached=cached,
        cache_write=written,
        completion=completion,
        reasoning=min(reasoning, completion),
        cost=_cost(counted.get("approx_cost")),
    )
    if total.provider and (total.requests or total.prompt or total.completion):
        yield total


def _tables(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield from ((str(name), inner) for name, inner in value.items() if isinstance(inner, Mapping))


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    return value if isinstance(value, str) else ""


def _number(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53 else 0


def _cost(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12 else 0.0


def _day(counted: Any, today: date) -> date:
    last = counted.get("last_used_at") if isinstance(counted, Mapping) else None
    if isinstance(last, int | float) and not isinstance(last, bool) and last > 0:
        try:
            return min(datetime.fromtimestamp(last, UTC).date(), today)
        except (ValueError, OverflowError, OSError):
            pass
    return today


def _iso(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
