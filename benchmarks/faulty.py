"""The faulty upstream: fails in every possible way, and logs every attempt.

``python -m benchmarks.faulty PORT SEED DEAD``. The outcome of a request depends on the seed, the key and the
number of requests with that key; the first ``DEAD`` keys are always refused. ``GET /log`` returns the log.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, cast

import uvloop

from benchmarks.faulty_plays import Asked, Content, Play, Step, mistake, pick, refused, success

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"authorization: *bearer k(\d+)", re.IGNORECASE)
_MARK = re.compile(rb"\[(\w+) (\w+)\]")
_ROTATED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One request that arrived. Times come from the monotonic clock, which all processes share.

    ``end``: ``whole`` and ``error`` were sent completely, ``broken`` broke after content, ``left`` was closed by
    the other side, ``open`` is still running.
    """

    id: str
    number: int
    key: str
    play: str
    stream: bool
    hint_s: float | None
    at: float
    content_at: float | None = None
    ended_at: float | None = None
    end: Literal["whole", "error", "broken", "left", "open"] = "open"


class Book:
    """Every attempt, and the counters from which faults are drawn."""

    def __init__(self, seed: str, dead: int) -> None:
        self.attempts: list[Attempt] = []
        self._of_key: dict[str, int] = defaultdict(int)
        self._of_id: dict[str, int] = defaultdict(int)
        self._seed = seed
        self._dead = dead

    def begin(self, key: int, body: bytes) -> tuple[Attempt | None, Play]:
        mark = _MARK.search(body)
        if mark is None:  # not part of the run: a check whether the server is up
            return None, success(Asked("probe", "k0", 0, False, False), random.Random(0))
        id, kind, name = mark[1].decode(), mark[2].decode(), f"k{key}"
        self._of_key[name] += 1
        self._of_id[id] += 1
        number, stream = self._of_id[id], b'"stream":true' in body.replace(b": ", b":")
        asked = Asked(id, name, number, stream, linger=kind == "linger")
        play = self._play(kind, key, asked)
        attempt = Attempt(
            id=id, number=number, key=name, play=play.name, stream=stream, hint_s=play.hint_s, at=time.monotonic()
        )
        self.attempts.append(attempt)
        return attempt, play

    def _play(self, kind: str, key: int, asked: Asked) -> Play:
        rng = random.Random(f"{self._seed}/{key}/{self._of_key[asked.key]}")
        if kind == "mistake":
            return mistake()
        if kind == "rotated" and asked.number == 1:
            return Play("429", [_ROTATED])
        if kind in ("rotated", "direct"):
            return success(asked, random.Random(0))
        if key < self._dead:
            return refused((401, 403)[key % 2], "dead key")
        return pick(asked, rng, datetime.now(UTC))

    def as_json(self) -> bytes:
        return json.dumps([asdict(attempt) for attempt in self.attempts]).encode()


class Connection(asyncio.Protocol):
    """One connection: at most one attempt at a time."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._buffer = b""
        self._attempt: Attempt | None = None
        self._play: Play | None = None
        self._steps: Iterator[Step] = iter(())
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not registered as subclasses

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._end("left")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._play is None:
            self._next()

    def _next(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return
        head, body, self._buffer = self._buffer[:end], self._buffer[end + 4 : size], self._buffer[size:]
        if head.startswith(b"GET /log "):
            log = self._book.as_json()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(log) + log)
            return
        key = _KEY.search(head)
        self._attempt, self._play = self._book.begin(int(key[1]) if key else 0, body)
        self._steps = iter(self._play.steps)
        self._continue()

    def _continue(self) -> None:
        for step in self._steps:
            if isinstance(step, bytes):
                self._transport.write(step)
                if isinstance(step, Content) and self._attempt is not None and self._attempt.content_at is None:
                    self._attempt.content_at = time.monotonic()
            elif step == "cut":
                self._finish()
                self._transport.abort()
                return
            elif step == "stall":
                return
            elif step:
                self._timer = asyncio.get_running_loop().call_later(step, self._continue)
                return
        self._finish()
        self._next()

    def _finish(self) -> None:
        if self._play is not None:
            self._end(self._play.ends)
        self._play = None

    def _end(self, end: Literal["whole", "error", "broken", "left"]) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.end, attempt.ended_at = end, time.monotonic()


async def main(port: int, seed: str, dead: int) -> None:
    book = Book(seed, dead)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(book), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
