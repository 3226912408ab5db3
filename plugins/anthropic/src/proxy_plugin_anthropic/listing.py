"""``GET /v1/models``: pages of models with their limits and capabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from proxy_core import ModelInfo, ModelSpec, UpstreamRequest, load_json, load_object

PAGE = 1000
#: The names under which the proxy's own list shows what the API says of a model.
_CAPABILITIES = {
    "vision": "image_input",
    "pdf_input": "pdf_input",
    "reasoning": "thinking",
    "response_schema": "structured_outputs",
}


def parse_models(body: bytes) -> Sequence[ModelSpec]:
    """``{"data": [...]}``. Models that are retired are left out. Raises ``ValueError`` for anything else."""
    value = load_json(body)
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise ValueError("no list of models")
    return [_spec(item) for item in items if _serves(item)]


def next_page(request: UpstreamRequest, body: bytes) -> UpstreamRequest | None:
    page = load_object(body) or {}
    last = page.get("last_id")
    if page.get("has_more") is not True or not isinstance(last, str) or not last:
        return None
    return replace(request, url=f"{request.url.partition('&after_id=')[0]}&after_id={quote(last, safe='')}")


def _serves(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str) and item.get("lifecycle") != "retired"


def _spec(item: dict[str, Any]) -> ModelSpec:
    context, output = (_count(item.get(name)) for name in ("max_input_tokens", "max_tokens"))
    info = ModelInfo(context_length=context, max_output_tokens=output, capabilities=_capabilities(item))
    named = {"display_name": item.get("display_name"), "context_window": context, "max_output_tokens": output}
    extra = {name: value for name, value in named.items() if value is not None}
    return ModelSpec(
        id=item["id"], created=_seconds(item.get("created_at")), owned_by="anthropic", extra=extra, info=info
    )


def _capabilities(item: Mapping[str, Any]) -> Mapping[str, bool] | None:
    found = item.get("capabilities")
    if not isinstance(found, Mapping):
        return None
    supported = {
        ours: entry["supported"]
        for ours, theirs in _CAPABILITIES.items()
        if isinstance(entry := found.get(theirs), Mapping) and isinstance(entry.get("supported"), bool)
    }
    return {"function_calling": True, **supported}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _seconds(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        return max(0, int(datetime.fromisoformat(value).timestamp()))
    except (ValueError, OverflowError):
        return None
