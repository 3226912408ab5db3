"""Several workers of the real program on the default store."""

import asyncio
import contextlib
import os
import signal
from collections import Counter

import pytest
from benchmarks.shared_run import Seen, all_workers, load, settings, used
from lag import Lag

from proxy_core.testing import run, serving

pytestmark = pytest.mark.slow

KEYS = ("key-a", "key-b", "key-c")


async def under_load(program, seconds, *steps, connections=24, lag=None):
    """Load on all workers; ``steps`` happen in it, evenly spread."""
    port = int(program.url.rpartition(":")[2])
    seen, stop, lag = Seen(), asyncio.Event(), lag or Lag()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load(lambda: [port], connections, stop, seen))
        tasks.create_task(lag.measured(stop))
        for step in (*steps, stop.set):
            await asyncio.sleep(seconds / (len(steps) + 1))
            done = step()
            if asyncio.iscoroutine(done):
                await done
    return seen


async def test_four_workers_count_exactly_hold_limits_and_share_cooldowns_and_their_ends(home, counting, http_server):
    variables = settings(counting.url, KEYS, 4)
    async with serving(home, "--workers", "4", "--server", http_server, **variables) as program:
        await all_workers(home, 4)

        async def clear():
            shared.append(counting.shared_s("key-a"))
            assert len([key for key in KEYS if key in counting.limited]) == 1
            del counting.limited["key-a"]
            before.update(counting.served)
            code, output = await run(home, "cooldown", "clear", **variables)
            assert (code, "in 4 processes" in output) == (0, True), output

        async def used_again():
            async with asyncio.timeout(20):
                while counting.served["key-a"] <= before["key-a"] + 20:
                    await asyncio.sleep(0.01)

        shared, before, lag = [], Counter(), Lag()
        steps = lambda: counting.limit("key-a"), clear, used_again
        seen = await under_load(program, 3, *steps, lag=lag)
    usage = await used(home, variables)

    assert seen.other == {}
    assert usage["requests"] == counting.served.total() == seen.ok
    assert usage["failures"] == counting.refused.total()
    assert usage["attempts"] == seen.ok + counting.refused.total()
    assert (usage["prompt"], usage["completion"]) == (7 * seen.ok, 3 * seen.ok)
    assert counting.above(4) == []
    assert shared[0] <= 1 + 2 * lag.worst_s, "one turn each for the worker that is told and the one that tells"
    assert counting.served["key-a"] > before["key-a"] + 20


def busiest(workers):
    """The worker with most connections: one of two may have accepted all of them."""
    return max(workers, key=lambda worker: len(os.listdir(f"/proc/{worker}/fd")))


async def test_a_killed_worker_loses_at_most_its_last_second(home, counting, http_server):
    variables = settings(counting.url, KEYS, 0)
    async with serving(home, "--workers", "2", "--server", http_server, **variables) as program:
        workers = await all_workers(home, 2)
        seen = await under_load(program, 1.5, lambda: os.kill(busiest(workers), signal.SIGKILL))
    usage = await used(home, variables)

    assert seen.broken
    assert seen.other == {}
    assert 0 <= counting.served.total() - usage["requests"] <= seen.last_second
    assert usage["requests"] >= seen.ok - seen.last_second


async def test_workers_end_when_their_parent_is_killed(home, counting, http_server):
    told = "the process that started this worker has ended; stopping"
    async with serving(home, "--workers", "2", "--server", http_server, **settings(counting.url, KEYS, 0)) as program:
        workers = await all_workers(home, 2)
        program.process.kill()
        try:
            async with asyncio.timeout(60):
                with pytest.raises(ConnectionRefusedError):
                    while True:
                        _, writer = await asyncio.open_connection("127.0.0.1", int(program.url.rpartition(":")[2]))
                        writer.close()
                        await asyncio.sleep(0.02)
                while program.output.count(told) < 2:  # written with the other lines, when the worker ends
                    await asyncio.sleep(0.02)
        except TimeoutError:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            raise

    assert "Traceback" not in program.output, "which is complete now, so both have ended"


async def test_one_permit_goes_from_worker_to_worker(home, counting):
    counting.hold_s = (0.01, 0.02)
    variables = settings(counting.url, ["key-a"], 1)
    async with serving(home, "--workers", "2", **variables) as program:
        await all_workers(home, 2)
        seen = await under_load(program, 1.5, connections=6)

    assert seen.other == {}
    assert seen.slowest_s < 5
    assert counting.above(1) == []
    assert counting.served.total() == seen.ok
