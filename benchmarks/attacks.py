"""``python -m benchmarks.attacks``: attacks and ordinary clients at the same time, on loopback.

Ordinary clients must get the right responses, ``/healthz`` must answer at once, and neither memory nor descriptors may
grow. Prints a line per minute; exits with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from proxy_core.testing import FakeUpstream
from proxy_core.testing.program import SCRIPT, Program, serving
from proxy_core.testing.upstream import Script

KEY = "the-key-of-the-clients"
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode()
_NOWHERE = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_WARM_UP = 0.3
_GROWTH, _HEALTH_S = 1.05, 0.05


@dataclass(slots=True)
class Seen:
    """What ordinary clients saw since the last line, and the resources of the proxy in each line."""

    wrong: int = 0
    right: int = 0
    health: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


async def _raw(url: str, *pieces: bytes, wait_s: float = 0.5) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), 5)
        await asyncio.wait_for(reader.read(65536), wait_s)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


def _attacks(url: str, client: httpx.AsyncClient) -> dict[str, Callable[[random.Random], Awaitable[object]]]:
    chat = {"model": "bad/m", "messages": [{"role": "user", "content": "hi"}]}

    def post(body: object) -> Awaitable[object]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(f"{url}/v1/chat/completions", content=content)

    objects = b'{"a":[' + b",".join([b"{}"] * 2_000_000) + b"]}"
    return {
        "many objects": lambda _: post(objects),
        "deep": lambda _: post(b'{"a":' * 900 + b"1" * 1_000_000 + b"}" * 900),
        "bad number": lambda _: post(b'{"model":"demo/small","messages":[],"x":1e400}'),
        "invented model": lambda r: post({**chat, "model": f"bad/{r.randbytes(60).hex()}"}),
        "long model": lambda _: post({**chat, "model": "bad/" + "x" * 1_000_000}),
        "hostile upstream": lambda _: post(chat),
        "hostile stream": lambda _: post({**chat, "stream": True}),
        "tiny chunks": lambda _: _raw(url, _HEAD + b"transfer-encoding: chunked\r\n\r\n", b"2\r\n  \r\n" * 30_000),
        "both lengths": lambda _: _raw(url, _HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"),
        "body that stops": lambda _: _raw(url, _HEAD + b"content-length: 1000000\r\n\r\n{"),
        "left at once": lambda _: _raw(url, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", wait_s=0.001),
        "left in a body": lambda _: _raw(url, _NOWHERE, b"1\r\nx\r\n" * 5000, wait_s=0.001),
        "preface of HTTP/2": lambda _: _raw(url, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
        "garbage": lambda r: _raw(url, r.randbytes(5000)),
    }


def _scripts() -> list[Script]:
    """What the upstream answers, in turn."""
    bomb = gzip.compress(bytes(20_000_000), 9)
    absurd = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 10**300}}).encode()
    return [
        Script(200, {"content-encoding": "gzip", "content-type": "application/json"}, (bomb,)),
        Script(200, {"content-encoding": "gzip, gzip"}, (gzip.compress(bomb),)),
        Script(400, {"content-encoding": "gzip"}, (bomb,)),
        Script(200, {"content-type": "application/json"}, (absurd,)),
        Script(200, {"content-type": "text/event-stream"}, tuple(b"data: x" for _ in range(2000))),
        Script(200, {"content-type": "application/json"}, (b"[" * 100_000,)),
        Script(raw=True, steps=(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nxx",)),
        Script(reset=True),
    ]


async def _attack(url: str, seed: int) -> None:
    """Runs in a process of its own, until it is ended: building attacks must not delay the ordinary clients."""
    chosen = random.Random(seed)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=20) as client:
        attacks = _attacks(url, client)
        while True:
            name = chosen.choice(list(attacks))
            with suppress(httpx.HTTPError, OSError, TimeoutError):  # the proxy may close an attacker's connection
                await attacks[name](chosen)


async def _ordinary(url: str, stop: asyncio.Event, seen: Seen) -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=20) as client:
        number = 0
        while not stop.is_set():
            number += 1
            body = {"model": "demo/small", "messages": [{"role": "user", "content": f"number {number}"}]}
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
            right = answer.status_code == 200 and f"number {number}" in answer.text
            seen.right, seen.wrong = seen.right + right, seen.wrong + (not right)
            began = time.perf_counter()
            await client.get(f"{url}/healthz")
            seen.health.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)


def _resources(program: Program) -> tuple[float, int]:
    """Resident megabytes, and open descriptors."""
    process = Path(f"/proc/{program.process.pid}")
    return int((process / "statm").read_text().split()[1]) * 4096 / 1e6, len(list((process / "fd").iterdir()))


async def _soak(minutes: float, attackers: int) -> Seen:
    seen, stop = Seen(), asyncio.Event()
    with tempfile.TemporaryDirectory() as home:
        async with FakeUpstream() as upstream:
            variables = {"PROXY_API_KEY": KEY, "BAD_API_BASE": upstream.url, "PROXY_ROUTING__MAX_WAIT_S": "1"}
            variables["PROXY_SERVER__SHUTDOWN_GRACE_S"] = "1"
            async with serving(Path(home), "--demo", command=SCRIPT, **variables) as program:
                commands = [
                    (sys.executable, "-m", __spec__.name, "--attack", program.url, str(n)) for n in range(attackers)
                ]
                processes = [await asyncio.create_subprocess_exec(*command) for command in commands]
                ordinary = asyncio.create_task(_ordinary(program.url, stop, seen))
                for _ in range(max(4, round(minutes))):
                    for script in _scripts() * 20:
                        upstream.add(script)
                    await asyncio.sleep(minutes * 60 / max(4, round(minutes)))
                    memory, descriptors = _resources(program)
                    seen.memory.append(memory)
                    seen.descriptors.append(descriptors)
                    p99 = statistics.quantiles(seen.health, n=100)[98]
                    print(
                        f"{memory:6.1f} MB  {descriptors:4} descriptors  /healthz p99 {p99 * 1000:6.1f} ms", flush=True
                    )
                for process in processes:
                    process.kill()
                    await process.wait()
                stop.set()
                await ordinary
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        asyncio.run(_attack(options.attack[0], int(options.attack[1])))
    seen = asyncio.run(_soak(options.minutes, options.attackers))
    warm = seen.memory[int(len(seen.memory) * _WARM_UP) :]
    p99 = statistics.quantiles(seen.health, n=100)[98]
    promises = {
        f"right responses: {seen.right}, wrong: {seen.wrong}": seen.right > 0 and not seen.wrong,
        f"memory flat: {warm[0]:.0f} to {max(warm):.0f} MB": max(warm) <= _GROWTH * warm[0],
        f"descriptors: {seen.descriptors[0]} to {max(seen.descriptors)}": max(seen.descriptors) < 200,
        f"/healthz p99 {p99 * 1000:.0f} ms": p99 <= _HEALTH_S,
    }
    for what, holds in promises.items():
        print(f"{'ok    ' if holds else 'MISSED'}  {what}")
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
