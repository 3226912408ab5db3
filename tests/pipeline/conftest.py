"""The path of one request without sockets, on a clock that passes only while a test waits."""

from contextlib import AsyncExitStack

import pytest

from proxy_core.testing import MemoryUpstream, VirtualClock, run_in_memory


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def upstream(clock):
    return MemoryUpstream(clock)


@pytest.fixture
async def make_proxy(tmp_path, upstream, clock):
    """Starts proxies whose providers are all ``upstream``."""
    async with AsyncExitStack() as running:

        async def make(settings, **more):
            return await running.enter_async_context(
                run_in_memory(settings, upstream, folder=tmp_path, clock=clock, **more)
            )

        yield make


@pytest.fixture
async def proxy(make_proxy):
    """Has one provider, ``demo``, with the keys ``key-a`` and ``key-b``. It does not wait long for one that rests."""
    routing = {"selector": "sequential", "max_wait_s": 1}
    return await make_proxy({"providers": {"demo": {"api_keys": ["key-a", "key-b"]}}, "routing": routing})
