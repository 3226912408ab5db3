"""The clients of the fault run: they mark each request and parse each response strictly.

``python -m benchmarks.faults_load`` reads one JSON line (a :class:`FaultLoad`) and prints one :class:`Seen` per line.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import uvloop

#: ``mistake``: the upstream answers 400. ``linger``: the client may disconnect early. The last two measure rotation.
Kind = Literal["usual", "mistake", "linger", "rotated", "direct"]
_MARK = re.compile(r"<(\w+) (k\d+) (\d+) (\d+)/(\d+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultLoad:
    """``mix``: the mix of the fault run; ``pairs``: alternating requests with and without a rotation."""

    port: int
    key: str
    model: str
    requests: int
    concurrency: int
    seed: int
    patience_s: float
    kind: Literal["mix", "pairs"] = "mix"
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """One request, planned before the run."""

    id: str
    kind: Kind
    stream: bool
    leaves: Literal["", "before", "after"] = ""
    leaves_after_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a client saw. ``marks``: for each piece of content, in order: key, attempt, piece, number of pieces."""

    id: str
    kind: Kind
    stream: bool
    leaves: Literal["", "before", "after"]
    at: float
    took_s: float = 0.0
    status: int = 0
    retry_after: str | None = None
    marks: list[tuple[str, int, int, int]] = field(default_factory=list)
    finished: bool = False
    done: bool = False
    error: str | None = None
    #: What no response may contain: marks of another request, a broken frame, silence beyond ``patience_s``.
    odd: str | None = None
    left: bool = False


def wish(load: FaultLoad, number: int) -> Wish:
    id = f"r{number:06}"
    if load.kind == "pairs":
        return Wish(id, "direct" if number % 2 else "rotated", False)
    rng = random.Random(f"{load.seed}/plan/{number}")
    share, stream = rng.random(), rng.random() < 0.5
    if share < 0.04:
        return Wish(id, "mistake", stream)
    if share < 0.08:
        return Wish(id, "linger", stream, "before", rng.uniform(0.0, 0.15))
    if share < 0.12:
        return Wish(id, "linger", True, "after", rng.uniform(0.0, 0.15))
    return Wish(id, "usual", stream)


def message(load: FaultLoad, wish: Wish) -> bytes:
    content = f"[{wish.id} {wish.kind}] Say something."
    body = {"model": load.model, "stream": wish.stream, "messages": [{"role": "user", "content": content}]}
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: faults\r\nAuthorization: Bearer {load.key}\r\n"
    head += f"X-Request-Id: {wish.id}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Client:
    """Uses one connection at a time, and reopens it when it can no longer be used."""

    def __init__(self, load: FaultLoad) -> None:
        self._load = load
        self._writer: asyncio.StreamWriter | None = None
        self._reader = asyncio.StreamReader()

    async def send(self, wish: Wish) -> Seen:
        seen = Seen(id=wish.id, kind=wish.kind, stream=wish.stream, leaves=wish.leaves, at=time.monotonic())
        try:
            async with asyncio.timeout(wish.leaves_after_s if wish.leaves == "before" else self._load.patience_s):
                await self._exchange(wish, seen)
        except TimeoutError:
            seen.left = wish.leaves == "before"
            seen.odd = None if seen.left else "silence beyond the client's patience"
            self.close()
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            seen.odd = seen.odd or f"{type(error).__name__}: {error}"
            self.close()
        seen.took_s = time.monotonic() - seen.at
        return seen

    async def _exchange(self, wish: Wish, seen: Seen) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._load.port, limit=2**20)
        self._writer.write(message(self._load, wish))
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        seen.status, seen.retry_after = int(status.split()[1]), headers.get("retry-after")
        pieces = self._pieces(headers)
        if headers.get("content-type", "").startswith("text/event-stream"):
            if not await self._stream(pieces, wish, seen):
                await asyncio.sleep(wish.leaves_after_s)
                seen.left = True
                self.close()
                return
        else:
            self._whole(json.loads(b"".join([piece async for piece in pieces])), seen)
        if headers.get("connection", "").lower() == "close":
            self.close()

    async def _pieces(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)

    async def _stream(self, pieces: AsyncIterator[bytes], wish: Wish, seen: Seen) -> bool:
        """Read events to the end; returns False when it is time to disconnect."""
        rest = b""
        async for piece in pieces:
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                self._event(event, seen)
            if wish.leaves == "after" and seen.marks:
                return False
        if rest.strip():
            seen.odd = f"half an event at the end: {rest[:100]!r}"
        return True

    def _event(self, event: bytes, seen: Seen) -> None:
        for line in event.split(b"\n"):
            if not line.startswith(b"data: "):
                continue
            if seen.done:
                seen.odd = f"an event after [DONE]: {line[:100]!r}"
            if line == b"data: [DONE]":
                seen.done = True
            else:
                self._whole(json.loads(line[6:]), seen)

    def _whole(self, value: Any, seen: Seen) -> None:
        """Read a plain response, or one event."""
        if "error" in value:
            seen.error = str(value["error"].get("code") or value["error"].get("type"))
        for choice in value.get("choices", ()):
            part = choice.get("delta") or choice.get("message") or {}
            for id, key, number, piece, pieces in _MARK.findall(part.get("content") or ""):
                if id != seen.id:
                    seen.odd = f"a piece of {id}"
                seen.marks.append((key, int(number), int(piece), int(pieces)))
            seen.finished = seen.finished or choice.get("finish_reason") is not None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = None


async def run(load: FaultLoad) -> list[Seen]:
    results: list[Seen] = []

    async def worker(numbers: Iterator[int]) -> None:
        client = Client(load)
        for number in numbers:
            results.append(await client.send(wish(load, number)))
            if load.pause_s:
                await asyncio.sleep(load.pause_s)
        client.close()

    numbers = iter(range(load.requests))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(load.concurrency):
            tasks.create_task(worker(numbers))
    return results


if __name__ == "__main__":
    for seen in uvloop.run(run(FaultLoad(**json.loads(sys.stdin.readline())))):
        print(json.dumps(asdict(seen)))
