"""An ordinary client of a proxy under attack, with an upstream of its own that often fails at first.

What the upstream reports to it is counted, to be compared with what the proxy has counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from proxy_core.testing import FakeUpstream
from proxy_core.testing.steps import chunk, cut
from proxy_core.testing.upstream import Script

_JSON, _EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream"}
#: What comes before a right response, by the request's number.
_FAILURES: Mapping[int, Script] = {
    1: Script(500, _JSON, (b'{"error":{"message":"broken"}}',)),
    3: Script(reset=True),
    4: Script(503, _JSON, (b'{"error":{"message":"overloaded"}}',)),
    6: Script(200, _EVENTS, (chunk({"role": "assistant", "content": ""}), cut())),
}
_KINDS = 8


@dataclass(slots=True)
class Seen:
    """What the client saw, and the tokens in right responses."""

    wrong: list[str] = field(default_factory=list)
    right: int = 0
    prompt: int = 0
    completion: int = 0
    health_s: list[float] = field(default_factory=list)
    #: The same for a bare server beside the proxy: what the machine alone costs.
    bare_s: list[float] = field(default_factory=list)


class Ordinary:
    """One client; its upstream is ``self.upstream``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = f"the-ordinary-key-of-{name}"
        self.upstream = FakeUpstream()
        self.seen = Seen()

    @property
    def settings(self) -> dict[str, str]:
        """Variables that give it a key, and a provider with two keys."""
        name = self.name.upper()
        return {
            f"PROXY_CLIENTS__{name}__KEY": self.key,
            f"{name}_API_BASE": self.upstream.url,
            f"{name}_API_KEY_1": "upstream-key-number-one",
            f"{name}_API_KEY_2": "upstream-key-number-two",
        }

    async def run(self, url: str, bare: str, stop: asyncio.Event) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            number = 0
            while not stop.is_set():
                number += 1
                await self._ask(client, url, number)
                self.seen.health_s.append(await _timed(client, f"{url}/healthz"))
                self.seen.bare_s.append(await _timed(client, bare))
                await asyncio.sleep(0.02)

    async def _ask(self, client: httpx.AsyncClient, url: str, number: int) -> None:
        text, stream = f"answer {number} for {self.name}", number % _KINDS in (2, 3, 6)
        usage = {"prompt_tokens": 10 + number % 7, "completion_tokens": 1 + number % 5}
        failure = _FAILURES.get(number % _KINDS)
        self.upstream.requests.clear()
        self.upstream.queue[:] = [*([failure] if failure else []), _right(text, usage, stream=stream)]
        body = {"model": f"{self.name}/small", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        try:
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
        except httpx.HTTPError as error:
            self.seen.wrong.append(f"{number}: {error!r}")
            return
        if answer.status_code == 200 and _text(answer.text, stream=stream) == text:
            self.seen.right += 1
            self.seen.prompt += usage["prompt_tokens"]
            self.seen.completion += usage["completion_tokens"]
        else:
            self.seen.wrong.append(f"{number}: {answer.status_code} {answer.text[:200]}")


async def _timed(client: httpx.AsyncClient, url: str) -> float:
    began = time.perf_counter()
    await client.get(url)
    return time.perf_counter() - began


async def serve_bare() -> None:
    """Runs in a process of its own, until it is ended; prints its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


def _right(text: str, usage: Mapping[str, int], *, stream: bool) -> Script:
    if stream:
        parts = [chunk({"content": text[:5]}), chunk({"content": text[5:]}), chunk({}, finish="stop")]
        return Script(200, _EVENTS, (*parts, chunk(usage=usage), b"data: [DONE]\n\n"))
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice], "usage": usage}
    return Script(200, _JSON, (json.dumps(body).encode(),))


def _text(body: str, *, stream: bool) -> str:
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: {")]
    events = [choice for line in lines for choice in json.loads(line).get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in events) if "[DONE]" in body else ""
