"""``python -m benchmarks.shared``: several processes on one store, under load; one is killed in the middle.

Four workers on the default store, then two proxies on one Redis. Usage, concurrent requests per key and the time
until all processes know of a cooldown are compared with the upstream's own counts. Prints the figures and exits
with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shared_run import (
    CountingUpstream,
    Seen,
    all_workers,
    load,
    redis_binary,
    redis_server,
    settings,
    used,
)
from proxy_core.testing.program import SCRIPT, serving

KEYS = ("key-a", "key-b", "key-c", "key-d", "key-e", "key-f")
MOST = 4
#: All processes must know of a cooldown by then.
SHARED_S = 0.25
#: The other processes must use a dead process's permits by then: their lifetime, and half as long again.
FREED_S = 15.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    name: str
    seen: Seen
    upstream: CountingUpstream
    usage: Mapping[str, float]
    seconds: float
    processes: int
    freed_s: float | None


def main() -> int:
    options = _options()
    outcomes = [asyncio.run(four_workers(options.seconds, options.connections))]
    if redis_binary() is None:
        print("the second run requires redis-server or valkey-server")
    else:
        outcomes.append(asyncio.run(two_proxies(options.seconds, options.connections)))
    return 0 if min(map(report, outcomes)) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="seconds of load in each run")
    parser.add_argument("--connections", type=int, default=48)
    return parser.parse_args()


async def four_workers(seconds: float, connections: int) -> Outcome:
    upstream = CountingUpstream((0.04, 0.12))
    with tempfile.TemporaryDirectory(prefix="pc-") as name:
        home = Path(name)
        async with upstream.listening() as url:
            variables = settings(url, KEYS, MOST)
            async with serving(home, "--workers", "4", command=SCRIPT, **variables) as program:
                workers = await all_workers(home, 4)
                port = int(program.url.rpartition(":")[2])
                seen, freed_s = await _under_load(
                    upstream, lambda: [port], seconds, connections, lambda: os.kill(workers[0], signal.SIGKILL)
                )
            usage = await used(home, variables)
    return Outcome(
        name="4 workers, SQLite",
        seen=seen,
        upstream=upstream,
        usage=usage,
        seconds=seconds,
        processes=4,
        freed_s=freed_s,
    )


async def two_proxies(seconds: float, connections: int) -> Outcome:
    upstream = CountingUpstream((0.04, 0.12))
    with tempfile.TemporaryDirectory(prefix="pc-") as name:
        one, other = Path(name, "one"), Path(name, "other")
        for folder in (one, other):
            folder.mkdir()
        with redis_server(Path(name)) as redis:
            async with upstream.listening() as url:
                variables = settings(url, KEYS, MOST, PROXY_STATE__URL=redis.url)
                async with (
                    serving(one, command=SCRIPT, **variables) as first,
                    serving(other, command=SCRIPT, **variables) as second,
                ):
                    ports = [int(p.url.rpartition(":")[2]) for p in (first, second)]

                    def kill() -> None:
                        first.process.kill()
                        del ports[0]

                    seen, freed_s = await _under_load(upstream, lambda: ports, seconds, connections, kill)
                usage = await used(other, variables)
    return Outcome(
        name="2 proxies, Redis",
        seen=seen,
        upstream=upstream,
        usage=usage,
        seconds=seconds,
        processes=2,
        freed_s=freed_s,
    )


async def _under_load(
    upstream: CountingUpstream,
    ports: Callable[[], Sequence[int]],
    seconds: float,
    connections: int,
    kill: Callable[[], None],
) -> tuple[Seen, float | None]:
    """Limit one key after a quarter of the time and another after three quarters; kill a process in between."""
    seen, stop = Seen(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load(ports, connections, stop, seen))
        await asyncio.sleep(seconds / 4)
        upstream.limit(KEYS[0])
        await asyncio.sleep(seconds / 4)
        kill()
        freed_s = await _all_used(upstream, seconds / 4)
        upstream.limit(KEYS[1])
        await asyncio.sleep(seconds / 4)
        stop.set()
    return seen, freed_s


async def _all_used(upstream: CountingUpstream, seconds: float) -> float | None:
    """Seconds after the kill until all permits were in use again; ``None`` if that was not observed."""
    began, found, waited = time.monotonic(), None, max(seconds, FREED_S + 1)
    open_keys = [key for key in KEYS if key not in upstream.limited]
    full: set[str] = set()
    await asyncio.sleep(0.2)
    while time.monotonic() - began < waited:
        full |= {key for key in open_keys if upstream.busy[key] >= MOST}
        if found is None and len(full) == len(open_keys):
            found = time.monotonic() - began
        await asyncio.sleep(0.002)
    return found


def report(outcome: Outcome) -> bool:
    """Print figures and targets; returns whether all targets are met."""
    upstream, seen, usage = outcome.upstream, outcome.seen, outcome.usage
    served, lost = upstream.served.total(), upstream.served.total() - int(usage["requests"])
    over = max(upstream.peak.values()) - MOST
    shared = max(upstream.shared_s(key) for key in upstream.limited)
    tokens = 10 * int(usage["requests"])
    print(f"\n{outcome.name}: {served} served, {seen.broken} connections broken by the kill")
    targets = {
        f"usage: {usage['requests']:.0f} counted, {served} served, {seen.last_second} in the last second": (
            0 <= lost <= seen.last_second
        ),
        f"tokens: {usage['prompt'] + usage['completion']:.0f}": usage["prompt"] + usage["completion"] == tokens,
        f"failures: {usage['failures']:.0f} counted, {upstream.refused.total()} sent": (
            upstream.refused.total() - seen.last_second <= usage["failures"] <= upstream.refused.total()
        ),
        f"concurrent requests per key: {MOST + over}, limit {MOST}, above it {upstream.above(MOST)[:8]}": over <= 0,
        f"all processes knew of a cooldown after {shared * 1000:.0f} ms": shared <= SHARED_S,
        f"the dead process's permits were in use after {outcome.freed_s or -1:.1f} s": (
            outcome.freed_s is not None and outcome.freed_s <= FREED_S
        ),
        f"clients: {seen.ok} answered, others {dict(seen.other)}, slowest {seen.slowest_s:.2f} s": not seen.other,
    }
    for what, holds in targets.items():
        print(f"{'ok    ' if holds else 'MISSED'}  {what}")
    return all(targets.values())


if __name__ == "__main__":
    sys.exit(main())
