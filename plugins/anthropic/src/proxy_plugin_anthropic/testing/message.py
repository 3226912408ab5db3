"""A response from its steps: a message, or the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from proxy_core.testing.steps import Step

_USAGE = {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}


def event(kind: str, **fields: Any) -> bytes:
    body = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {body}\n\n".encode()


def plain(steps: Iterable[Mapping[str, Any]], model: str, message_id: str) -> dict[str, Any]:
    message = _empty(model, message_id)
    for step in steps:
        if "block" in step:
            message["content"].append(step["block"])
        elif "text" in step:
            last = message["content"][-1] if message["content"] else {}
            if last.get("type") != "text":
                last = {"type": "text", "text": ""}
                message["content"].append(last)
            last["text"] += step["text"]
            if step["citations"]:
                last["citations"] = [*last.get("citations", ()), *step["citations"]]
        elif "finish" in step:
            message["stop_reason"], message["stop_sequence"] = step["finish"], step["stop_sequence"]
            message["usage"] |= step["usage"]
    return message


def stream(steps: Sequence[Mapping[str, Any] | Step], model: str, message_id: str) -> Iterator[Step]:
    """A ping follows the start. After the last step the stream ends; only ``finish`` makes that a proper end."""
    finish = next((s for s in steps if isinstance(s, Mapping) and "finish" in s), None)
    first = {**_empty(model, message_id)}
    first["usage"] = {**_USAGE, **(finish["usage"] if finish is not None else {}), "output_tokens": 1}
    yield event("message_start", message=first)
    yield event("ping")
    index, in_text = -1, False
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
            continue
        if in_text and "text" not in step:
            yield event("content_block_stop", index=index)
            in_text = False
        if "text" in step:
            if not in_text:
                index, in_text = index + 1, True
                yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for citation in step["citations"]:
                yield event("content_block_delta", index=index, delta={"type": "citations_delta", "citation": citation})
            yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": step["text"]})
        elif "block" in step:
            index += 1
            yield from _block(step["block"], index)
        elif "error" in step:
            yield event("error", error=step["error"], request_id="req_scripted")
            return
        else:
            delta = {"stop_reason": step["finish"], "stop_sequence": step["stop_sequence"]}
            yield event("message_delta", delta=delta, usage={**_USAGE, **step["usage"]})
            yield event("message_stop")
    if in_text:
        yield event("content_block_stop", index=index)


def _block(block: Mapping[str, Any], index: int) -> Iterator[bytes]:
    begun, deltas = dict(block), []
    match block["type"]:
        case "thinking":
            begun |= {"thinking": "", "signature": ""}
            deltas.append({"type": "thinking_delta", "thinking": block["thinking"]})
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use" | "server_tool_use":
            begun["input"] = {}
            written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            half = len(written) // 2
            deltas += [
                {"type": "input_json_delta", "partial_json": part} for part in ("", written[:half], written[half:])
            ]
    yield event("content_block_start", index=index, content_block=begun)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


def _empty(model: str, message_id: str) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": dict(_USAGE),
    }
