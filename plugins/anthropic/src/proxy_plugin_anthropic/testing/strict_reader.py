"""Reads a stream as strictly as the strictest client: every rule of the order of events is an assertion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from proxy_core import JsonObject, sse

#: The type of a delta's block, and the delta's member with its content.
_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("thinking", "signature"),
    "input_json_delta": ("tool_use", "partial_json"),
    "citations_delta": ("text", "citation"),
}


def read_stream(data: bytes) -> JsonObject:
    """The message that a stream's events result in."""
    events: list[JsonObject] = []
    for event in sse.events(data):
        value = json.loads(event.data)
        assert event.name == value["type"]
        events.append(value)
    assert data.endswith(b"\n\n")
    assert b"\n\n\n" not in data
    start, *blocks, delta, stop = (event for event in events if event["type"] != "ping")
    assert (start["type"], delta["type"], stop) == ("message_start", "message_delta", {"type": "message_stop"})
    message: JsonObject = start["message"]
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
    content = _content(blocks)
    usage = {**message["usage"], **delta["usage"]}
    assert None not in usage.values()
    rest = {name: value for name, value in delta.items() if name not in ("type", "delta")}
    return {**message, "content": content, **delta["delta"], **rest, "usage": usage}


def _content(events: Sequence[JsonObject]) -> list[JsonObject]:
    content: list[JsonObject] = []
    pieces: list[str] | None = None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert pieces is None
                assert event["index"] == len(content)
                pieces = []
                content.append(event["content_block"])
            case "content_block_delta":
                assert pieces is not None
                assert event["index"] == len(content) - 1
                _add(content[-1], event["delta"], pieces)
            case "content_block_stop":
                assert pieces is not None
                assert event["index"] == len(content) - 1
                if pieces:
                    content[-1]["input"] = from_json("".join(pieces), allow_partial=True)
                pieces = None
            case other:
                raise AssertionError(other)
    assert pieces is None
    return content


def _add(block: JsonObject, delta: JsonObject, pieces: list[str]) -> None:
    kind, member = _DELTAS[delta["type"]]
    value: Any = delta[member]
    assert block["type"] == kind
    if member == "citation":
        block.setdefault("citations", []).append(value)
        return
    assert isinstance(value, str)
    if member == "partial_json":
        pieces.append(value)
        return
    assert not block.get("signature")  # it comes once, and last
    block[member] += value
