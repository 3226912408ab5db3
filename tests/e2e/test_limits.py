"""Each limit in settings does what its line in docs/settings.md says."""

import asyncio
import socket
import time

import pytest

from proxy_core import Sanitizer, hookimpl
from proxy_core.interfaces import PluginInfo
from proxy_core.testing import pause, stall

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def demo(server, *keys, **tables):
    return {"providers": {"demo": {"base_url": server.url, "api_keys": keys or ["key-a"]}}, **tables}


# --- [timeouts], [upstream] --------------------------------------------------------------


async def test_an_upstream_that_does_not_accept_the_connection_is_abandoned_after_connect_s(make_proxy):
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):  # the queue is full: further connections hang
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        proxy = await make_proxy(
            {
                "providers": {"demo": {"base_url": url}},
                "timeouts": {"connect_s": 0.3},
                "routing": {"attempts_per_credential": 1},
            }
        )
        began = time.monotonic()
        answer = await proxy.chat("demo/small", "hi")

    assert answer.status in (502, 503, 504)
    assert 0.25 < time.monotonic() - began < 20


async def test_a_large_body_that_the_upstream_stops_reading_is_given_up_after_write_s(make_proxy):
    """The whole upload may take long; it is each slice of it that has the limit."""

    async def reads_nothing(reader, writer):
        await asyncio.Event().wait()

    server = await asyncio.start_server(reads_nothing, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    proxy = await make_proxy(
        {
            "providers": {"demo": {"base_url": url}},
            "timeouts": {"write_s": 0.3},
            "routing": {"attempts_per_credential": 1},
        }
    )
    began = time.monotonic()
    answer = await proxy.chat("demo/small", "x" * 30_000_000)
    server.close()

    assert answer.status == 504
    assert time.monotonic() - began < 30


async def test_requests_beyond_max_connections_wait_for_pool_s(make_proxy, upstream):
    upstream.says(stall())
    proxy = await make_proxy(
        demo(
            upstream,
            upstream={"max_connections": 1},
            timeouts={"pool_s": 0.2, "connect_s": 0.1},
            routing={"attempts_per_credential": 1},
        )
    )
    holder = asyncio.create_task(proxy.chat("demo/small", "hi"))
    while not upstream.requests:
        await asyncio.sleep(0.01)
    began = time.monotonic()
    answer = await proxy.chat("demo/small", "hi")
    took_s = time.monotonic() - began
    holder.cancel()

    assert answer.status in (502, 503, 504)
    assert 0.2 <= took_s < 20
    assert len(upstream.requests) == 1


# --- [routing] ---------------------------------------------------------------------------


@pytest.mark.parametrize("tries", [1, 3])
async def test_one_credential_is_tried_attempts_per_credential_times(make_proxy, upstream, tries):
    upstream.responds(500)
    proxy = await make_proxy(demo(upstream, routing={"attempts_per_credential": tries}))

    await proxy.chat("demo/small", "hi")

    assert len(upstream.requests) == tries


async def test_one_request_is_tried_max_attempts_times_at_most(make_proxy, upstream):
    upstream.responds(429)
    proxy = await make_proxy(demo(upstream, *(f"key-{n}" for n in range(9)), routing={"max_attempts": 4}))

    answer = await proxy.chat("demo/small", "hi")

    assert (answer.status, len(upstream.requests)) == (429, 4)


async def test_no_attempt_starts_after_budget_s_but_one_in_flight_goes_on(make_proxy, upstream):
    upstream.for_key("key-a").says(pause(0.4), status=500)
    upstream.for_key("key-b").responds()
    proxy = await make_proxy(
        demo(
            upstream,
            "key-a",
            "key-b",
            routing={"max_wait_s": 0.2, "selector": "sequential", "attempts_per_credential": 1},
        )
    )

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status >= 500
    assert upstream.keys_seen == ["key-a"]


@pytest.mark.parametrize(("ttl_s", "asked"), [(0.05, 2), (60, 1)])
async def test_a_model_list_is_cached_for_models_ttl_s(make_proxy, upstream, ttl_s, asked):
    upstream.for_path("/models").responds(json_body={"data": [{"id": "a"}]})
    proxy = await make_proxy(demo(upstream, routing={"models_ttl_s": ttl_s}))

    await proxy.get("/models")
    await asyncio.sleep(0.1)
    await proxy.get("/models")

    assert len(upstream.requests) == asked


async def test_a_provider_with_discovery_off_is_not_asked_for_models(make_proxy, upstream):
    provider = {"base_url": upstream.url, "models": ["mine"], "discover": False}
    proxy = await make_proxy({"providers": {"demo": provider}})

    models = (await proxy.get("/models")).json["data"]

    assert [model["id"] for model in models] == ["demo/mine"]
    assert upstream.requests == []


# --- [sanitizers] ------------------------------------------------------------------------


async def test_the_order_of_sanitizers_in_settings_wins_over_their_rank(make_proxy, upstream):
    def note(name, rank):
        def request(r):
            return r.with_body({**r.body, "trail": [*r.body.get("trail", []), name]})

        return Sanitizer(name=name, rank=rank, request=request)

    class Noting:
        PLUGIN = PluginInfo(name="noting", api=1)

        @staticmethod
        @hookimpl
        def proxy_sanitizers(ctx):
            return [note("a", 0), note("b", 1), note("c", -1)]

    proxy = await make_proxy(demo(upstream, sanitizers={"order": ["b", "a"]}), modules=[Noting])

    await proxy.chat("demo/small", "hi")

    assert upstream.last.json["trail"] == ["b", "a", "c"]
