"""The cost of translation between each two formats: microseconds per event, milliseconds per request of 100 KB.

``uv run python -m benchmarks.translate``: exits with 1 if a target is missed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from proxy_core.dialects import openai_chat
from proxy_core.interfaces import Dialect, ResponseContext
from proxy_core.messages import ChatEvent, Finish, Start, TextDelta, Usage, UsageReport
from proxy_plugin_anthropic.dialect import DIALECT as MESSAGES
from proxy_plugin_gemini.dialect import DIALECT as GEMINI
from proxy_plugin_openai_responses.dialect import DIALECT as RESPONSES

#: A bare relay on the same libraries takes about 45 us for an event, so a translated one takes at most twice that.
EVENT_US, REQUEST_MS = 45.0, 2.0
_FORMATS: Sequence[Dialect] = (openai_chat.DIALECT, RESPONSES, MESSAGES, GEMINI)
_EVENTS = 2000
_ROUNDS = 15


def _request(tools: int) -> dict[str, Any]:
    """A typical request of a coding agent, in OpenAI's chat format: long messages, calls and results, and tools."""
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


def _context() -> ResponseContext:
    return ResponseContext(id="r", model="m", stream=True, include_usage=True, created=1, extra={"thoughts": True})


def _stream(upstream: Dialect) -> list[bytes]:
    """A response of ``upstream``, one event of text in each read."""
    events: list[ChatEvent] = [Start(id="r", model="m", created=1)]
    events += [TextDelta(text=f"word {number} ") for number in range(_EVENTS)]
    events += [Finish(reason="stop"), UsageReport(usage=Usage(prompt=900, completion=_EVENTS))]
    assert upstream.encoder is not None
    encoder = upstream.encoder(_context())
    return [*(encoder.feed([event]) for event in events), encoder.close()]


def _translated(reads: list[bytes], upstream: Dialect, client: Dialect) -> None:
    assert upstream.decoder is not None
    assert client.encoder is not None
    decoder, encoder = upstream.decoder(True), client.encoder(_context())
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


def _streams() -> bool:
    print(f"microseconds per event, at most {EVENT_US:.0f}:")
    missed = False
    for upstream in _FORMATS:
        reads = _stream(upstream)
        for client in _FORMATS:
            if client is not upstream:
                cost = _minimum_s(lambda: _translated(reads, upstream, client)) / _EVENTS * 1e6  # noqa: B023
                missed |= cost > EVENT_US
                print(f"{cost:6.1f}  {upstream.name}, to a client of {client.name}")
    return missed


def _requests() -> bool:
    print(f"milliseconds per request of 100 KB, at most {REQUEST_MS:.0f}:")
    missed, chat = False, openai_chat.DIALECT
    assert chat.decode is not None
    for tools in (0, 40):
        common = chat.decode(_request(tools))
        bodies = {dialect.name: dialect.encode(common) for dialect in _FORMATS if dialect.encode is not None}
        for client in _FORMATS:
            for upstream in _FORMATS:
                if client is not upstream:
                    cost = _minimum_s(lambda: upstream.encode(client.decode(bodies[client.name]))) * 1e3  # type: ignore[misc]  # noqa: B023
                    missed |= cost > REQUEST_MS
                    print(f"{cost:6.2f}  from a client of {client.name} to {upstream.name}, {tools} tools")
    return missed


def main() -> int:
    return int(any([_streams(), _requests()]))


if __name__ == "__main__":
    sys.exit(main())
