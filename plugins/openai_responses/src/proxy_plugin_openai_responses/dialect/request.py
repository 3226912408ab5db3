"""Checks a request, and extracts what its response depends on."""

from __future__ import annotations

import time
from secrets import token_hex

from proxy_core import BadRequest, JsonObject, ProxyRequest, ResponseContext, is_sealed
from proxy_core.dialects.common import check_stream, missing, optional_bool, optional_str, require_model, wrong_type


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
    """The body without reasoning that other makers sealed, which an upstream of this format would refuse."""
    found = body.get("input")
    if not isinstance(found, list) or not any(is_sealed(item.get("encrypted_content")) for item in found):
        return body
    return {**body, "input": [item for item in found if not is_sealed(item.get("encrypted_content"))]}


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
