"""Memory of large bodies goes back to the system."""

import asyncio
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy_core.jsons.heap import Heap, trim

PAGE = 4096


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_freed_strings_of_a_body_go_back_to_the_system_although_a_later_one_is_in_use():
    strings = [bytes(5000) for _ in range(20_000)]
    full, last = resident(), strings[-1]
    del strings

    assert trim()

    assert resident() < full - 50_000_000 and len(last) == 5000


def test_many_large_bodies_cause_one_return_of_memory():
    jobs = []

    class Jobs(ThreadPoolExecutor):
        def submit(self, job, *args):
            jobs.append(job)

    async def bodies():
        heap, thread = Heap(delay_s=0.5), Jobs()
        for _ in range(100):
            heap.trim_later(thread)
        while not jobs:
            await asyncio.sleep(0.01)

    asyncio.run(bodies())

    assert jobs == [trim]
