"""A program for tests of the SQLite store: processes that write, and are killed, or are not.

``state_load.py URL killed 20`` or ``state_load.py URL together 4``; prints what each process was told is kept.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from datetime import date

from proxy_core.interfaces import Count, SharedValue, SyncRequest, UsageRow
from proxy_core.state.sqlite import sqlite_store

DAY = date(2026, 3, 1)


async def write(url, holder, told, *, for_s, pause_s):
    state = await sqlite_store().open(url)
    end, number, seen, slowest = time.monotonic() + for_s, 0, 0, 0.0
    while time.monotonic() < end:
        number += 1
        soon = time.time() + 600
        push = SyncRequest(
            holder=holder,
            number=number,
            seen=seen,
            values={f"{holder}-{number % 20}": SharedValue(value=os.urandom(40), expires_at=soon)},
            counts={f"c{n}": Count(add=1, expires_at=soon) for n in range(50)},
            usage=[
                UsageRow(day=DAY, client=f"c{n}", provider="p", credential=holder, model="m", requests=1, cost=0.5)
                for n in range(20)
            ],
        )
        started = time.monotonic()
        seen = (await state.sync(push)).cursor
        slowest = max(slowest, time.monotonic() - started)
        os.write(told, b"%d %d\n" % (number, slowest * 1000))
        await asyncio.sleep(pause_s)
    await state.close()


def start(url, holder, **how):
    ours, theirs = os.pipe()
    if pid := os.fork():
        os.close(theirs)
        return pid, ours
    asyncio.run(write(url, holder, theirs, **how))
    os._exit(0)


def end(pid, told):
    os.waitpid(pid, 0)
    with open(told) as lines:
        last = lines.read().splitlines()[-1:] or ["0 0"]
    return [int(n) for n in last[0].split()]


def main():
    url, mode, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if mode == "together":
        running = [start(url, f"h{n}", for_s=2, pause_s=0.02) for n in range(processes)]
        print(json.dumps([end(*process) for process in running]))
        return
    result = []
    for n in range(processes):
        running = start(url, f"h{n}", for_s=60, pause_s=0)
        time.sleep(0.04 + random.random() / 10)
        os.kill(running[0], signal.SIGKILL)
        result.append(end(*running))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
