"""Two proxies on two ports against one real Redis."""

import asyncio
import tempfile
from pathlib import Path

import httpx
import pytest
from benchmarks.shared_run import Seen, load, redis_binary, redis_server, settings, used
from lag import Lag

from proxy_core.testing import serving

CLIENT = {"authorization": "Bearer some-client-key"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(redis_binary() is None, reason="needs redis-server or valkey-server"),
]

KEYS = ("key-a", "key-b")
MOST = 3


@pytest.fixture
def homes():
    with tempfile.TemporaryDirectory(prefix="pc-") as folder:
        found = [Path(folder, "one"), Path(folder, "other")]
        for home in found:
            home.mkdir()
        yield found


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


def port_of(program):
    return int(program.url.rpartition(":")[2])


async def health(url):
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{url}/readyz", headers=CLIENT)).json()


async def until_it_is(status, *programs):
    async with asyncio.timeout(20):
        while {(await health(program.url))["status"] for program in programs} != {status}:
            await asyncio.sleep(0.05)


async def test_one_of_two_proxies_killed_under_load(homes, redis, counting):
    variables = settings(counting.url, KEYS, MOST, PROXY_STATE__URL=redis.url)
    async with serving(homes[0], **variables) as first, serving(homes[1], **variables) as second:
        ports = [port_of(first), port_of(second)]
        await asyncio.sleep(2.5)  # until each has heard of the other, on a busy machine, too
        seen, stop = Seen(), asyncio.Event()
        loading = asyncio.create_task(load(lambda: ports, 16, stop, seen))
        lag = Lag()
        measuring = asyncio.create_task(lag.measured(stop))
        await asyncio.sleep(0.7)
        counting.limit("key-a")
        await asyncio.sleep(0.5)
        del ports[0]
        first.process.kill()
        await asyncio.sleep(0.8)
        stop.set()
        await asyncio.gather(loading, measuring)
    usage = await used(homes[1], variables)

    assert seen.other == {}
    assert counting.above(MOST) == []
    assert 0 <= counting.served.total() - usage["requests"] <= seen.last_second
    assert usage["prompt"] == 7 * usage["requests"]
    assert counting.shared_s("key-a") <= 0.25 + 2 * lag.worst_s


async def test_redis_unreachable_emptied_and_back(homes, redis, counting):
    variables = settings(counting.url, KEYS, MOST, PROXY_STATE__URL=redis.url)
    async with serving(homes[0], **variables) as first, serving(homes[1], **variables) as second:
        ports = [port_of(first), port_of(second)]
        await asyncio.sleep(0.3)
        seen, stop = Seen(), asyncio.Event()
        loading = asyncio.create_task(load(lambda: ports, 12, stop, seen))
        await asyncio.sleep(0.5)
        redis.stop()
        await until_it_is("degraded", first, second)
        problems = (await health(first.url))["problems"]
        during = seen.ok
        await asyncio.sleep(0.5)
        during = seen.ok - during
        redis.start()
        await until_it_is("ok", first, second)
        await asyncio.sleep(0.3)
        stop.set()
        await loading
        await asyncio.sleep(0.4)
        usage = await used(homes[1], variables)
        served = counting.served.total()

        redis.command("FLUSHALL")
        stop = asyncio.Event()
        loading = asyncio.create_task(load(lambda: ports, 6, stop, seen))
        await asyncio.sleep(0.5)
        stop.set()
        await loading
    after = await used(homes[1], variables)

    assert "cannot be reached" in problems[0]
    assert seen.other == {}
    assert during > 5
    assert usage["requests"] == served
    assert after["requests"] == counting.served.total() - served


async def test_the_dashboard_of_one_machine_shows_the_usage_of_the_other_but_not_its_requests(homes, redis, counting):
    variables = settings(counting.url, KEYS, MOST, PROXY_STATE__URL=redis.url, PROXY_ADMIN__KEY="the-admin-key")
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        serving(homes[0], **variables) as first,
        serving(homes[1], **variables) as second,
        httpx.AsyncClient(timeout=30) as client,
    ):
        for _ in range(5):
            answer = await client.post(f"{second.url}/v1/chat/completions", json=body, headers=CLIENT)
            assert answer.is_success
        headers = {"authorization": "Bearer the-admin-key", "origin": first.url}
        assert (await client.post(f"{first.url}/admin/ui/session", headers=headers)).status_code == 204
        async with asyncio.timeout(60):
            while "5 requests" not in (await client.get(f"{first.url}/admin/ui/usage?range=7d")).text:
                await asyncio.sleep(0.1)
        requests = await client.get(f"{first.url}/admin/ui/requests")

    assert "No request yet" in requests.text
