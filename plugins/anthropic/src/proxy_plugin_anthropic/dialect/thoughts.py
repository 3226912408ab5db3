"""Thinking blocks in requests, and where the clients of other formats carry them.

A block is valid only with its exact text and its own signature, so a text that lost its signature is left out.
OpenAI's clients carry both in ``reasoning_details``, in the form that gateways established: a list of
``{"type": "reasoning.text", "text", "signature"}`` and ``{"type": "reasoning.encrypted", "data"}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy_core import JsonObject, Opaque, Reasoning
from proxy_plugin_anthropic.dialect.common import MAKER, REDACTED

#: Makers by their names in ``reasoning_details``; any other maker has the same name there.
_FORMATS = {MAKER: "anthropic-claude-v1"}


def as_details(text: str, opaque: Opaque, index: int) -> JsonObject:
    """One entry of ``reasoning_details``."""
    head: JsonObject = {"index": index, "format": _FORMATS.get(opaque.maker, opaque.maker)}
    if opaque.payload.startswith(REDACTED):
        return {**head, "type": "reasoning.encrypted", "data": opaque.payload.removeprefix(REDACTED)}
    return {**head, "type": "reasoning.text", "text": text, "signature": opaque.payload}


def thinking_blocks(part: Reasoning, maker: str) -> Iterator[JsonObject]:
    """The blocks of this maker that a part of the assistant's message stands for: its own, or those in its details."""
    details = part.extra.get("reasoning_details")
    if isinstance(details, list):
        yield from (block for detail in details if (block := _of_detail(detail, maker)) is not None)
    elif part.opaque is not None and part.opaque.maker == maker and part.opaque.payload:
        yield _block(part.text, part.opaque.payload)


def _block(text: str, payload: str) -> JsonObject:
    if payload.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": payload.removeprefix(REDACTED)}
    return {"type": "thinking", "thinking": text, "signature": payload}


def _of_detail(detail: Any, maker: str) -> JsonObject | None:
    if not isinstance(detail, Mapping) or detail.get("format") != _FORMATS.get(maker, maker):
        return None
    match detail:
        case {"type": "reasoning.text", "text": str(text), "signature": str(signature)} if signature:
            return _block(text, signature)
        case {"type": "reasoning.encrypted", "data": str(data)} if data:
            return _block("", REDACTED + data)
        case _:
            return None
