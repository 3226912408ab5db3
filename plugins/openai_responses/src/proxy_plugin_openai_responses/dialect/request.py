"""Checks a request, and extracts what its response depends on."""

from __future__ import annotations

import time
from secrets import token_hex

from proxy_core import BadRequest, JsonObject, ProxyRequest, ResponseContext, is_sealed
from proxy_core.dialects.common import check_stream, missing, optional_bool, optional_str, require_model, wrong_type
from proxy_plugin_openai_responses.dialect.common import OWN_REASONING


def check(body: JsonObject) -> None:
    """Raise ``BadRequest`` for a body that no upstream could read; the upstream checks the rest."""
    require_model(body)
    previous = optional_str(body, "previous_response_id")
    found = body.get("input")
    if found is None and previous is None:
        raise missing("input")
    if not isinstance(found, str | list | None):
        raise wrong_type("input", "a string or an array of items")
    for index, item in enumerate(found if isinstance(found, list) else ()):
        if not isinstance(item, dict):
            raise wrong_type(f"input[{index}]", "an object")
        if not isinstance(item.get("type"), str | None):
            raise wrong_type(f"input[{index}].type", "a string")
    if previous is not None and body.get("conversation") is not None:
        raise BadRequest(
            "'previous_response_id' and 'conversation' exclude each other.", param="conversation", code="invalid_value"
        )
    if optional_bool(body, "background"):
        raise BadRequest(
            "'background' is not available: the proxy answers while the client waits.",
            param="background",
            code="unsupported_parameter",
        )
    optional_bool(body, "store")
    check_stream(body)


def relayed(body: JsonObject) -> JsonObject:
    """The body without reasoning that an upstream of this format would refuse: of other makers, or kept nowhere."""
    found = body.get("input")
    stored = body.get("store") is not False
    if not isinstance(found, list) or not any(_foreign(item, stored) for item in found):
        return body
    return {**body, "input": [item for item in found if not _foreign(item, stored)]}


def _foreign(item: JsonObject, stored: bool) -> bool:
    """Sealed by the proxy, or only an id that no upstream has: the proxy's own, or one of a response not stored.

    Upstreams that do not encrypt reasoning have it in ``content``, which the proxy does not write.
    """
    if is_sealed(sealed := item.get("encrypted_content")):
        return True
    if item.get("type") not in ("reasoning", "item_reference") or sealed or item.get("content"):
        return False
    return str(item.get("id")).startswith(OWN_REASONING) or (not stored and item["type"] == "reasoning")


def context(request: ProxyRequest, *, stores: bool = True) -> ResponseContext:
    """``stores``: whether a response is kept, unless its client does not want that."""
    return ResponseContext(
        id=f"resp_{token_hex(24)}",
        model=request.model,
        stream=request.stream,
        include_usage=True,
        created=int(time.time()),
        extra={"request": request.body, "previous": request.continues, "stores": stores},
    )
