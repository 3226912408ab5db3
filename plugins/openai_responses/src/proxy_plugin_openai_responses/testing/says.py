"""Model responses for tests: steps for :meth:`FakeResponses.answers`. Each is one item, in any number of pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text(*pieces: str, phase: str | None = None, annotations: tuple[Mapping[str, Any], ...] = ()) -> dict[str, Any]:
    more = {"phase": phase} if phase is not None else {}
    return {"item": "message", "part": "output_text", "pieces": pieces, "annotations": annotations, "more": more}


def refusal(*pieces: str) -> dict[str, Any]:
    return {"item": "message", "part": "refusal", "pieces": pieces, "annotations": (), "more": {}}


def reasoning(*pieces: str, encrypted: str | None = None, shown: bool = True) -> dict[str, Any]:
    """A summary or, unless ``shown``, the reasoning itself, as open models send it."""
    return {"item": "reasoning", "pieces": pieces, "encrypted": encrypted, "shown": shown}


def call(name: str, *pieces: str, call_id: str | None = None, namespace: str | None = None) -> dict[str, Any]:
    more = {"namespace": namespace} if namespace is not None else {}
    return {"item": "function_call", "name": name, "pieces": pieces, "call_id": call_id, "more": more}


def custom(name: str, *pieces: str, call_id: str | None = None) -> dict[str, Any]:
    return {"item": "custom_tool_call", "name": name, "pieces": pieces, "call_id": call_id, "more": {}}


def hosted(kind: str, **fields: Any) -> dict[str, Any]:
    """An item of a tool that the vendor runs."""
    return {"item": "hosted", "fields": {"type": kind, **fields}}


def end(reason: str | None = None, **usage: Any) -> dict[str, Any]:
    """The end: complete, or incomplete for a reason. ``usage`` replaces members of the usual one."""
    return {"end": reason, "usage": usage}


def fails(code: str, message: str = "It failed.", *, event: bool = False) -> dict[str, Any]:
    """``response.failed`` or, with ``event``, an event ``error``."""
    return {"fails": {"code": code, "message": message}, "event": event}


def raw(data: bytes) -> dict[str, Any]:
    """Bytes between the events, sent unchanged."""
    return {"raw": data}
