"""The cost of translation: microseconds per streamed event, milliseconds per request of 100 KB.

``uv run python -m benchmarks.translate``: exits with 1 if a target is missed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from proxy_core.dialects.openai_chat import OpenAIChatDecoder, OpenAIChatEncoder, decode, encode
from proxy_core.interfaces import EventDecoder, EventEncoder, ResponseContext
from proxy_plugin_gemini.dialect import GeminiDecoder, GeminiEncoder, translate
from proxy_plugin_gemini.dialect import decode as gemini_decode

EVENT_US, REQUEST_MS = 60.0, 2.0
_EVENTS = 2000
_ROUNDS = 15


def _request(tools: int) -> dict[str, Any]:
    """A typical request of a coding agent: long messages, calls and results, and tools."""
    parameters = {
        "type": "object",
        "properties": {
            f"argument_{i}": {"type": ["string", "null"], "description": "What this is for. " * 4} for i in range(6)
        },
        "required": ["argument_0"],
        "additionalProperties": False,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
    }
    declared = [
        {
            "type": "function",
            "function": {"name": f"tool_{i}", "description": "Does it. " * 9, "parameters": parameters},
        }
        for i in range(tools)
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are an agent. " * 300}]
    while len(json.dumps(messages)) + len(json.dumps(declared)) < 100_000:
        call = {"id": f"call_{len(messages)}", "type": "function"}
        call["function"] = {"name": "tool_0", "arguments": '{"argument_0":"src/main.py"}'}  # type: ignore[assignment]
        messages += [
            {"role": "user", "content": "Please go on. " * 8},
            {"role": "assistant", "content": "I read it.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "def f(x):\n    return x\n" * 60},
        ]
    return {"model": "gemini-2.5-pro", "messages": messages, **({"tools": declared} if tools else {})}


def _gemini_stream() -> list[bytes]:
    events = []
    for number in range(_EVENTS):
        part = {"text": f"word {number} "}
        body = {
            "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": number, "totalTokenCount": 900 + number},
            "modelVersion": "gemini-2.5-pro",
            "responseId": "aXyZ0123",
        }
        events.append(b"data: " + json.dumps({"response": body, "traceId": "5f0c9e7d"}).encode() + b"\r\n\r\n")
    end = {"candidates": [{"finishReason": "STOP"}]}
    return [*events, b"data: " + json.dumps({"response": end}).encode() + b"\r\n\r\n"]


def _openai_stream() -> list[bytes]:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"content": f"word {n} "}, None) for n in range(_EVENTS)]
    deltas.append(({}, "stop"))
    return [
        b"data: " + json.dumps({**head, "choices": [{"index": 0, "delta": d, "finish_reason": f}]}).encode() + b"\n\n"
        for d, f in deltas
    ]


def _through(reads: list[bytes], decoder: EventDecoder, encoder: EventEncoder) -> None:
    for data in reads:
        encoder.feed(decoder.feed(data))
    encoder.feed(decoder.close())
    encoder.close()


def _minimum_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main() -> int:
    context = ResponseContext(id="r", model="m", stream=True, include_usage=True, created=1, extra={"thoughts": True})
    google, openai = _gemini_stream(), _openai_stream()
    streams: dict[str, Callable[[], object]] = {
        "Gemini's stream to an OpenAI client": lambda: _through(
            google, GeminiDecoder(True), OpenAIChatEncoder(context)
        ),
        "OpenAI's stream to a Gemini client": lambda: _through(openai, OpenAIChatDecoder(True), GeminiEncoder(context)),
    }
    missed = False
    for name, work in streams.items():
        cost = _minimum_s(work) / _EVENTS * 1e6
        missed |= cost > EVENT_US
        print(f"{name}: {cost:.1f} us per event (target {EVENT_US:.0f})")
    for tools in (0, 40):
        body = _request(tools)
        back = {**translate(decode(body)).body, "model": "m"}

        def up(body: dict[str, Any] = body) -> object:
            return translate(decode(body))

        def down(back: dict[str, Any] = back) -> object:
            return encode(gemini_decode(back))

        for name, request in (("OpenAI to Gemini", up), ("Gemini to OpenAI", down)):
            cost = _minimum_s(request) * 1e3
            missed |= cost > REQUEST_MS
            size = len(json.dumps(body)) // 1000
            print(f"a request of {size} KB with {tools} tools, {name}: {cost:.2f} ms (target {REQUEST_MS:.0f})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
