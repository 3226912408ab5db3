"""Returns memory to the system after large bodies.

glibc keeps what was freed in its heaps, which after several large bodies at once are a hundred megabytes or more:
``malloc_trim`` returns the unused pages. Other C libraries return memory by themselves, or have no such function.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from time import monotonic


class Heap:
    """``trim_later`` is cheap, so it can be called for each large body."""

    def __init__(self, delay_s: float = 5.0) -> None:
        """After ``delay_s`` most requests with a large body have ended."""
        self._delay_s = delay_s
        self._next = 0.0

    def trim_later(self, thread: Executor) -> None:
        """Return unused memory in a few seconds, from ``thread``; at most once in that time."""
        now = monotonic()
        if now >= self._next:
            self._next = now + self._delay_s
            asyncio.get_running_loop().call_later(self._delay_s, thread.submit, trim)


def trim() -> bool:
    """Whether memory was returned."""
    from ctypes import CDLL  # only processes that read large bodies need it

    try:
        return bool(CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
