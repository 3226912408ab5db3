"""Writes a scripted answer as OpenAI writes it: as events in their order, or as one object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy_core.testing.steps import Step

_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 15,
}


class Answer:
    """One answer. ``number`` makes its ids differ from those of others."""

    def __init__(self, steps: Sequence[Mapping[str, Any] | Step], model: str, number: int = 1) -> None:
        self._steps = steps
        self._number = number
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._response: dict[str, Any] = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "metadata": {},
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
        }

    def stream(self) -> list[Step]:
        out: list[Step] = [
            self._event("response.created", response=dict(self._response)),
            self._event("response.in_progress", response=dict(self._response)),
        ]
        for step in self._steps:
            if not isinstance(step, Mapping):
                out.append(step)
            elif "raw" in step:
                out.append(step["raw"])
            elif "fails" in step:
                out.append(self._failure(step))
            elif "end" in step:
                whole = self._ended(step)
                out.append(self._event(f"response.{whole['status']}", response=whole))
            else:
                out += self._item(step)
        return out

    def whole(self) -> dict[str, Any]:
        """Without a step ``end``, the response is complete."""
        ends: Mapping[str, Any] = {"end": None, "usage": {}}
        for step in self._steps:
            if isinstance(step, Mapping) and "fails" in step:
                return {**self._response, "status": "failed", "error": step["fails"]}
            if isinstance(step, Mapping) and "end" in step:
                ends = step
            elif isinstance(step, Mapping) and "raw" not in step:
                list(self._item(step))
        return self._ended(ends)

    def _event(self, kind: str, **fields: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return f"event: {kind}\ndata: {json.dumps(body)}\n\n".encode()

    def _failure(self, step: Mapping[str, Any]) -> bytes:
        if step["event"]:
            return self._event("error", **step["fails"], param=None)
        return self._event("response.failed", response={**self._response, "status": "failed", "error": step["fails"]})

    def _ended(self, step: Mapping[str, Any]) -> dict[str, Any]:
        reason = step["end"]
        return {
            **self._response,
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": self._output,
            "usage": {**_USAGE, **step["usage"]},
        }

    def _item(self, step: Mapping[str, Any]) -> Iterator[bytes]:
        at = len(self._output)
        begun, done, inner = getattr(self, f"_{step['item']}")(step, f"{self._number}_{at}", at)
        self._output.append(done)
        yield self._event("response.output_item.added", output_index=at, item=begun)
        yield from inner()
        yield self._event("response.output_item.done", output_index=at, item=done)

    def _message(self, step: Mapping[str, Any], unique: str, at: int) -> Any:
        kind, whole = step["part"], "".join(step["pieces"])
        text = kind == "output_text"
        name = "text" if text else "refusal"
        empty: dict[str, Any] = {"annotations": [], "logprobs": []} if text else {}
        begun = {"type": kind, name: "", **empty}
        part = {**begun, name: whole, **({"annotations": list(step["annotations"])} if text else {})}
        item = {"id": f"msg_{unique}", "type": "message", "role": "assistant", **step["more"]}
        where: dict[str, Any] = {"item_id": item["id"], "output_index": at, "content_index": 0}
        more: dict[str, Any] = {"logprobs": []} if text else {}

        def inner() -> Iterator[bytes]:
            yield self._event("response.content_part.added", **where, part=begun)
            for piece in step["pieces"]:
                yield self._event(f"response.{kind}.delta", **where, delta=piece, **more)
            for number, note in enumerate(step["annotations"]):
                yield self._event(
                    "response.output_text.annotation.added", **where, annotation_index=number, annotation=note
                )
            yield self._event(f"response.{kind}.done", **where, **{name: whole}, **more)
            yield self._event("response.content_part.done", **where, part=part)

        done = {**item, "status": "completed", "content": [part]}
        return {**item, "status": "in_progress", "content": []}, done, inner

    def _reasoning(self, step: Mapping[str, Any], unique: str, at: int) -> Any:
        whole, shown = "".join(step["pieces"]), step["shown"]
        kind, index = ("reasoning_summary", "summary_index") if shown else ("reasoning", "content_index")
        part = {"type": "summary_text" if shown else "reasoning_text", "text": whole}
        item = {"id": f"rs_{unique}", "type": "reasoning", "summary": []}
        place = "summary" if shown else "content"
        done = {**item, place: [part] if whole else [], "encrypted_content": step["encrypted"]}
        where: dict[str, Any] = {"item_id": item["id"], "output_index": at, index: 0}

        def inner() -> Iterator[bytes]:
            if not whole:
                return
            if shown:
                yield self._event(f"response.{kind}_part.added", **where, part={**part, "text": ""})
            for piece in step["pieces"]:
                yield self._event(f"response.{kind}_text.delta", **where, delta=piece)
            yield self._event(f"response.{kind}_text.done", **where, text=whole)
            if shown:
                yield self._event(f"response.{kind}_part.done", **where, part=part)

        return item, done, inner

    def _function_call(self, step: Mapping[str, Any], unique: str, at: int) -> Any:
        return self._call(step, "fc", "arguments", "function_call_arguments", unique, at)

    def _custom_tool_call(self, step: Mapping[str, Any], unique: str, at: int) -> Any:
        return self._call(step, "ctc", "input", "custom_tool_call_input", unique, at)

    def _call(self, step: Mapping[str, Any], prefix: str, name: str, event: str, unique: str, at: int) -> Any:
        whole = "".join(step["pieces"]) or ("{}" if name == "arguments" else "")
        item = {
            "id": f"{prefix}_{unique}",
            "type": step["item"],
            "call_id": step["call_id"] or f"call_{unique}",
            "name": step["name"],
            **step["more"],
        }
        where: dict[str, Any] = {"item_id": item["id"], "output_index": at}

        def inner() -> Iterator[bytes]:
            for piece in step["pieces"]:
                yield self._event(f"response.{event}.delta", **where, delta=piece)
            yield self._event(f"response.{event}.done", **where, **{name: whole})

        return {**item, "status": "in_progress", name: ""}, {**item, "status": "completed", name: whole}, inner

    def _hosted(self, step: Mapping[str, Any], unique: str, at: int) -> Any:
        item = {"id": f"ht_{unique}", **step["fields"]}
        where: dict[str, Any] = {"item_id": item["id"], "output_index": at}

        def inner() -> Iterator[bytes]:
            for state in ("in_progress", "completed"):
                yield self._event(f"response.{item['type']}.{state}", **where)

        return {**item, "status": "in_progress"}, {**item, "status": "completed"}, inner
