"""The load generator: many connections that exchange raw bytes, in a separate process.

``python load.py`` reads one JSON line (a :class:`Load`) and prints one (the result). It imports nothing else from here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass

import uvloop


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``kind``: ``plain``, ``burst`` and ``health`` run for ``seconds``, or make ``requests`` on each connection;
    ``paced`` runs one stream per connection. ``padding``: so many bytes are added to the message, and ``answer``
    to the answer. ``chunks``: the number of chunks that each stream must have.
    """

    port: int
    key: str
    model: str
    kind: str
    chunks: int
    connections: int = 32
    seconds: float = 3.0
    requests: int = 0
    padding: int = 0
    answer: int = 0
    gap_s: float = 0.05
    host: str = "127.0.0.1"
    path: str = "/v1/chat/completions"


def request_bytes(load: Load) -> bytes:
    if load.kind == "health":
        return b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"
    body: dict[str, object] = {
        "model": load.model,
        "messages": [{"role": "user", "content": "Say something." + "x" * load.padding}],
    }
    if load.kind != "plain":
        body["stream"] = True
    if load.kind == "paced":
        body["user"] = f"pace={load.gap_s}"
    if load.answer:
        body["user"] = f"size={load.answer}"
    content = json.dumps(body).encode()
    head = f"POST {load.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {load.key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes, chunks: int | None) -> None:
    """Send a request and read its response. Raises if it is not a 200, or if a stream lacks any of its ``chunks``."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"unexpected response: {head!r} {await reader.read(500)!r}")
    if b"content-length: " in head:
        body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    else:
        body = await _chunked(reader)
    if chunks is not None and (body.count(b'"word and "') != chunks or b"data: [DONE]" not in body):
        raise RuntimeError(f"a stream lost chunks: {body.count(b'word and')} of {chunks}")


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


async def run(load: Load) -> dict[str, float]:
    message, chunks = request_bytes(load), None if load.kind in ("plain", "health") else load.chunks
    latencies: list[float] = []
    stop = time.perf_counter() + load.seconds

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(load.host, load.port, limit=2**20)
        for number in itertools.count(1):
            began = time.perf_counter()
            await one(reader, writer, message, chunks)
            latencies.append(time.perf_counter() - began)
            done = number >= load.requests if load.requests else time.perf_counter() >= stop
            if load.kind == "paced" or done:
                break
        writer.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(load.connections):
            tasks.create_task(worker())
    took = time.perf_counter() - began
    latencies.sort()
    return {
        "count": len(latencies),
        "per_s": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "max_ms": latencies[-1] * 1000,
    }


def as_line(load: Load) -> str:
    return json.dumps(asdict(load)) + "\n"


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(Load(**json.loads(sys.stdin.readline()))))))
