"""The parts of a run of several processes on one store: load, an upstream that counts, and a Redis server.

The upstream's own counts are the reference: the requests it served, the concurrent requests per key, and
the time of the last request with a key after its 429.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import socket
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_core.server import control_socket
from proxy_core.testing.program import SCRIPT, run

KEY = "some-client-key"
SECRET = "some-state-secret"
COOLDOWN_S = 200
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_BEARER = re.compile(rb"authorization: *Bearer (\S+)", re.IGNORECASE)
_RESPONSE = json.dumps(
    {
        "id": "chatcmpl-shared",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "small",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
).encode()
_LIMITED = b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'
_BODY = json.dumps({"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}).encode()
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: shared\r\nAuthorization: Bearer %s\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (KEY.encode(), len(_BODY), _BODY)
)


class CountingUpstream:
    """Answers after a random time within ``hold_s``; a key in ``limited`` gets 429 with a hint."""

    def __init__(self, hold_s: tuple[float, float] = (0.01, 0.04)) -> None:
        self.hold_s = hold_s
        self.served: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.busy: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.began = time.monotonic()
        self.at_once: list[tuple[float, str, int]] = []
        self.limited: dict[str, float | None] = {}
        self.last_seen: dict[str, float] = {}
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen; yields the base URL."""
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=1024)
        try:
            yield f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        finally:
            self._server.close()

    def limit(self, key: str) -> None:
        """Answer 429 to this key from now on, and record when the first one was sent."""
        self.limited[key] = None

    def shared_s(self, key: str) -> float:
        """How long after the first 429 the last request with this key arrived."""
        first = self.limited[key]
        return max(0.0, self.last_seen[key] - first) if first is not None else 0.0

    def above(self, limit: int) -> list[tuple[float, str, int]]:
        """The moments with more concurrent requests per key than ``limit``: seconds from the start, key, number."""
        return [(round(at, 2), key, busy) for at, key, busy in self.at_once if busy > limit]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                if length is not None:
                    await reader.readexactly(int(length[1]))
                bearer = _BEARER.search(head)
                await self._answer(writer, bearer[1].decode() if bearer else "")
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, key: str) -> None:
        self.last_seen[key] = time.monotonic()
        if key in self.limited:
            self.refused[key] += 1
            writer.write(_http(b"429 Too Many Requests", _LIMITED, b"retry-after: %d\r\n" % COOLDOWN_S))
            if self.limited[key] is None:
                self.limited[key] = time.monotonic()
            return
        self.busy[key] += 1
        self.peak[key] = max(self.peak[key], self.busy[key])
        self.at_once.append((time.monotonic() - self.began, key, self.busy[key]))
        try:
            await asyncio.sleep(random.uniform(*self.hold_s))
        finally:
            self.busy[key] -= 1
        self.served[key] += 1
        writer.write(_http(b"200 OK", _RESPONSE))
        await writer.drain()


def _http(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


@dataclass(slots=True)
class Seen:
    """What the clients saw. ``last_second``: requests that a killed process may not yet have written to the store."""

    ok: int = 0
    other: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    last_second: int = 0
    slowest_s: float = 0.0


async def load(ports: Callable[[], Sequence[int]], connections: int, stop: asyncio.Event, seen: Seen) -> None:
    """Send requests over persistent connections, each to one process; a broken one is reopened to one of ``ports``."""

    async def client(number: int) -> None:
        while not stop.is_set():
            choice = ports()
            done: list[float] = []
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", choice[number % len(choice)])
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                while not stop.is_set():
                    began = time.monotonic()
                    status = await _ask(reader, writer)
                    done.append(time.monotonic())
                    seen.slowest_s = max(seen.slowest_s, done[-1] - began)
                    if status == "200":
                        seen.ok += 1
                    else:
                        seen.other[status] += 1
            except (OSError, asyncio.IncompleteReadError):
                seen.broken += 1
                seen.last_second += 1 + sum(at > time.monotonic() - 1 for at in done)
            finally:
                writer.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(connections):
            tasks.create_task(client(number))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    await reader.readexactly(int(length[1]) if length else 0)
    return head[9:12].decode()


def settings(upstream_url: str, keys: Sequence[str], most: int, **more: str) -> dict[str, str]:
    """Settings of a proxy with one provider, ``demo``, whose keys each allow ``most`` concurrent requests."""
    named = {f"DEMO_API_KEY_{number}": key for number, key in enumerate(keys, 1)}
    return {
        "PROXY_API_KEY": KEY,
        "DEMO_API_BASE": upstream_url,
        **named,
        "PROXY_STATE__SECRET": SECRET,
        "PROXY_LOG__LEVEL": "warning",
        **({"PROXY_PROVIDERS__DEMO__ROTATION__MAX_CONCURRENT": str(most)} if most else {}),
        **more,
    }


async def used(home: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The totals of ``proxy-core usage``."""
    code, output = await run(home, "usage", "--json", "--by", "client", command=SCRIPT, **variables)
    assert code == 0, output
    rows = json.loads(output) if output.startswith("[") else []
    total: dict[str, Any] = defaultdict(int)
    for row in rows:
        for name, value in row.items():
            if name != "client":
                total[name] += value
    return total


def workers_of(home: Path) -> list[int]:
    """Process ids of the workers that have a control socket."""
    return sorted(int(path.stem) for path in (home / "data/proxy-core/run").glob("*.sock"))


async def all_workers(home: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 30
    while len(found := workers_of(home)) < count and time.monotonic() < deadline:  # noqa: ASYNC110  polls files
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # until the workers know of each other
    # A socket connects as soon as it has its name, but answers only once its worker serves.
    await control_socket.ask(home / "data/proxy-core/run", "GET", "/readyz", key="none")
    return found


@dataclass(slots=True)
class RedisServer:
    """A private Redis server in its own folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [redis_binary() or "redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while self.command("PING") != "+PONG":
            if time.monotonic() > deadline:
                raise RuntimeError("the Redis server did not start")
            time.sleep(0.01)

    def command(self, line: str) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(line.encode() + b"\r\n")
                return connection.recv(1000).decode().strip()
        except OSError:
            return ""

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def redis_binary() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _free_port() -> int:
    """Below the ports that the system gives out by itself, so that it stays free while a server is down."""
    while True:
        port = random.randrange(10_000, 22_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder, _free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
