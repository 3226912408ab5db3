"""``python -m benchmarks.attacks``: attacks and ordinary clients at the same time, on loopback.

Ordinary clients must get the right responses and be counted exactly, although their upstreams fail at first, too;
``/healthz`` must answer at once, and neither memory nor descriptors may grow. Prints a line per minute; exits with 1 if
a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.attacks_ordinary import Ordinary, serve_bare
from proxy_core.testing import FakeUpstream
from proxy_core.testing.program import SCRIPT, Program, run, serving
from proxy_core.testing.upstream import Script

KEY = "the-key-of-the-attackers"
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode()
_NOWHERE = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_WARM_UP = 0.3
_GROWTH, _HEALTH_S = 1.05, 0.05
#: What a proxy needs for itself, its pools and two clients, some seconds after the attackers have gone.
_QUIET_S, _IDLE = 5.0, 60


@dataclass(slots=True)
class Measured:
    """The resources of the proxy, once a minute, and at the end without attackers; what the proxy has counted."""

    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    left: int = 0
    counted: dict[str, tuple[int, int]] = field(default_factory=dict)


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

    def post(body: object, path: str = "/v1/chat/completions", **headers: str) -> Awaitable[object]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(url + path, content=content, headers=headers)

    objects = b'{"a":[' + b",".join([b"{}"] * 2_000_000) + b"]}"
    bomb, gemini = gzip.compress(bytes(100_000_000), 9), "/v1beta/models/bad/m:generateContent"
    return {
        "request that is a bomb": lambda _: post(bomb, **{"content-encoding": "gzip"}),
        "request packed twice": lambda _: post(gzip.compress(bomb), **{"content-encoding": "gzip, gzip"}),
        "many objects, Gemini": lambda _: post(objects, gemini),
        "deep, Gemini": lambda _: post(b'{"contents":' + b"[" * 900 + b"]" * 900 + b"}", gemini),
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
    """Runs in a process of its own, until it is ended: building attacks must not delay the ordinary clients, and the
    attackers' work is no work of the machine that is attacked."""
    os.nice(19)
    chosen = random.Random(seed)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=20) as client:
        attacks = _attacks(url, client)
        while True:
            name = chosen.choice(list(attacks))
            with suppress(httpx.HTTPError, OSError, TimeoutError):  # the proxy may close an attacker's connection
                await attacks[name](chosen)


def _resources(program: Program) -> tuple[float, int]:
    """Resident megabytes, and open descriptors."""
    process = Path(f"/proc/{program.process.pid}")
    return int((process / "statm").read_text().split()[1]) * 4096 / 1e6, len(list((process / "fd").iterdir()))


async def _soak(minutes: float, attackers: int, clients: Sequence[Ordinary]) -> Measured:
    measured = Measured()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        async with FakeUpstream() as bad, AsyncExitStack() as stack:
            for client in clients:
                await stack.enter_async_context(client.upstream)
            variables = {
                "PROXY_CLIENTS__ATTACKER__KEY": KEY,
                "BAD_API_BASE": bad.url,
                "PROXY_ROUTING__MAX_WAIT_S": "10",
            }
            variables["PROXY_SERVER__SHUTDOWN_GRACE_S"] = "1"
            for client in clients:
                variables |= client.settings
            async with serving(home, "--demo", command=SCRIPT, **variables) as program:
                await _measure(program, minutes, attackers, clients, bad, measured)
        code, output = await run(home, "usage", "--by", "client,provider", "--json", command=SCRIPT, **variables)
        assert code == 0, output
        for row in json.loads(output):
            if row["client"] == row["provider"]:
                measured.counted[row["client"]] = (row["prompt"], row["completion"])
    return measured


async def _measure(
    program: Program,
    minutes: float,
    attackers: int,
    clients: Sequence[Ordinary],
    bad: FakeUpstream,
    measured: Measured,
) -> None:
    commands = [(sys.executable, "-m", __spec__.name, "--attack", program.url, str(n)) for n in range(attackers)]
    processes = [await asyncio.create_subprocess_exec(*command) for command in commands]
    command = (sys.executable, "-m", __spec__.name, "--bare")
    processes.append(beside := await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))
    assert beside.stdout is not None
    bare = (await beside.stdout.readline()).decode().strip()
    stop, scripts, rounds = asyncio.Event(), _scripts(), max(4, round(minutes))
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run(program.url, bare, stop))
        for _ in range(rounds):
            bad.queue[:] = scripts * 20
            bad.requests.clear()
            seen = []
            for _ in range(math.ceil(minutes * 60 / rounds)):
                await asyncio.sleep(1)
                memory, descriptors = _resources(program)
                seen.append(memory)
                measured.descriptors.append(descriptors)
            measured.memory += seen
            p99, bare_p99 = (p99 * 1000 for p99 in _p99s(clients))
            memory = statistics.median(seen)
            line = f"{memory:6.1f} MB  {descriptors:4} descriptors  /healthz p99 {p99:6.1f} ms, bare {bare_p99:6.1f} ms"
            print(line, flush=True)
        for process in processes[:attackers]:
            process.kill()
            await process.wait()
        await asyncio.sleep(_QUIET_S)
        measured.left = _resources(program)[1]
        stop.set()
    beside.kill()
    await beside.wait()


def _p99s(clients: Sequence[Ordinary]) -> tuple[float, float]:
    """Of the proxy's ``/healthz``, and of the bare server."""
    health = [took for client in clients for took in client.seen.health_s]
    bare = [took for client in clients for took in client.seen.bare_s]
    return statistics.quantiles(health, n=100)[98], statistics.quantiles(bare, n=100)[98]


def _promises(measured: Measured, clients: Sequence[Ordinary]) -> dict[str, bool]:
    warm = measured.memory[int(len(measured.memory) * _WARM_UP) :]
    # Medians, because memory rises while a large body is there, and is given back a few seconds later.
    early, late = statistics.median(warm[: len(warm) // 2]), statistics.median(warm[len(warm) // 2 :])
    right, wrong = sum(c.seen.right for c in clients), [line for c in clients for line in c.seen.wrong]
    sent = {c.name: (c.seen.prompt, c.seen.completion) for c in clients}
    p99, bare = _p99s(clients)
    return {
        f"right responses: {right}, wrong: {len(wrong)} {wrong[:3]}": right > 0 and not wrong,
        f"tokens counted: {measured.counted}, reported to clients: {sent}": measured.counted == sent,
        f"memory flat: {early:.0f} to {late:.0f} MB (from {min(warm):.0f} to {max(warm):.0f})": late <= _GROWTH * early,
        f"descriptors: at most {max(measured.descriptors)}, afterwards {measured.left}": measured.left <= _IDLE,
        f"/healthz p99 {p99 * 1000:.0f} ms, a bare server's {bare * 1000:.0f} ms": p99 - bare <= _HEALTH_S,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        asyncio.run(_attack(options.attack[0], int(options.attack[1])))
    if options.bare:
        asyncio.run(serve_bare())
    clients = [Ordinary("ann"), Ordinary("bob")]
    promises = _promises(asyncio.run(_soak(options.minutes, options.attackers, clients)), clients)
    for what, holds in promises.items():
        print(f"{'ok    ' if holds else 'MISSED'}  {what}")
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
