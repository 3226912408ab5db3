"""What the tests of waiting share."""

import asyncio
import time

import httpx_aiohttp  # noqa: F401  # takes its time, which would count as waiting

QUICK = {"retry-after-ms": "300"}


def demo(upstream, *keys, rotation=None, **routing):
    provider = {"base_url": upstream.url, "api_keys": keys or ["key-a"], "rotation": rotation or {}}
    routing = {"selector": "sequential", "max_wait_s": 2, "attempts_per_credential": 1} | routing
    return {"providers": {"demo": provider}, "routing": routing}


def pool(proxy):
    return proxy.proxy.pools["demo"]


async def until(condition):
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.005)


async def leave(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def timed(asked):
    began = time.monotonic()
    return await asked, time.monotonic() - began


async def many(proxy, count, model="demo/small", **fields):
    return await asyncio.gather(*(proxy.chat(model, "hi", **fields) for _ in range(count)))
