"""Thought signatures, carried with a call or a message in ``extra_content`` under the name of their maker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core.messages import JsonObject, Opaque

_CARRIERS = frozenset({"extra_content", "provider_specific_fields", "thought_signature", "thoughtSignature"})


def decode_signature(carrier: Mapping[Any, Any]) -> Opaque | None:
    """Read a signature from every place that proxies and clients use; ``maker`` is empty if it is not named."""
    if _CARRIERS.isdisjoint(carrier):
        return None
    content = carrier.get("extra_content")
    for maker, inside in content.items() if isinstance(content, Mapping) else ():
        match inside:
            case {"thought_signature": str(found)} if found:
                return Opaque(maker=str(maker), payload=found)
    match carrier:
        case (
            {"provider_specific_fields": {"thought_signature": str(found)}}
            | {"thought_signature": str(found)}
            | {"thoughtSignature": str(found)}
        ) if found:
            return Opaque(maker="", payload=found)
        case _:
            return None


def encode_signature(opaque: Opaque | None) -> JsonObject:
    """The field that carries it."""
    if opaque is None:
        return {}
    inside = {"thought_signature": opaque.payload}
    return {"extra_content": {opaque.maker: inside}} if opaque.maker else inside
