"""The process's limit of open files and connections."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress

try:
    import resource
except ImportError:  # there is no such limit on Windows
    resource = None  # type: ignore[assignment]

log = logging.getLogger("proxy_core.serve")

#: Enough where the system sets no limit; and how often to look how many descriptors are used.
_DESCRIPTORS, _LOOK_S = 65536, 5.0


def raise_limit() -> None:
    """Each connection needs a descriptor, and the soft limit of 1,024 is meant for programs that use ``select``."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems have further limits
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def watch(stop: asyncio.Event) -> None:
    """Log when descriptors run out: connections then wait or fail, and nothing else says why."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource is not None else 0
    used = 0
    while limit > 0 and not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_S)
        was, used = used, _lowest_free(limit)
        if used >= limit * 9 // 10 > was:
            log.error("file descriptors run out: %d of %d are used; raise the limit (ulimit -n)", used, limit)


def _lowest_free(limit: int) -> int:
    """About how many descriptors are used: the system gives out the lowest that is free."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return limit
    os.close(descriptor)
    return descriptor
