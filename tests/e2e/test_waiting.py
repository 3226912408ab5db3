"""Waiting for a credential: for how long, in which order, and what ends it."""

import asyncio

import pytest
from waiting import QUICK, demo, leave, many, pool, timed, until

from proxy_core.testing import chunk, pause, stall

# --- For a rest to end -------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_request_waits_for_a_rest_that_ends_within_the_budget(make_proxy, upstream, stream):
    for key in ("key-a", "key-b"):
        upstream.for_key(key).replies(429, headers=QUICK)
        upstream.for_key(key).streams("fine")
    proxy = await make_proxy(demo(upstream, "key-a", "key-b"))

    answer, took_s = await timed(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.text == "fine"
    assert 0.3 <= took_s < 1.5
    assert answer.headers["x-proxy-attempts"] == "3"
    assert pool(proxy).in_flight == 0


async def test_a_rest_longer_than_the_budget_is_told_at_once(make_proxy, upstream):
    upstream.replies(429, headers={"retry-after-ms": "2500"})
    proxy = await make_proxy(demo(upstream))
    await proxy.chat("demo/small", "hi")

    answer, took_s = await timed(proxy.chat("demo/small", "hi"))

    assert (answer.status, answer.error["code"]) == (429, "capacity_exhausted")
    assert took_s < 1
    assert 2 <= int(answer.headers["retry-after"]) <= 3
    assert len(upstream.requests) == 1


async def test_the_budget_bounds_waiting_and_starting_but_no_attempt_in_flight(make_proxy, upstream):
    upstream.for_key("key-a").replies(429, headers=QUICK)
    upstream.for_key("key-a").says(pause(1), chunk({"content": "late"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo(upstream, max_wait_s=1.5))

    answer = await proxy.chat("demo/small", "hi", stream=True)

    assert answer.text == "late"


# --- For somebody else's lease -----------------------------------------------------------


async def test_requests_beyond_max_concurrent_queue_and_all_succeed(make_proxy, upstream):
    upstream.says(pause(0.05), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo(upstream, rotation={"max_concurrent": 1}))

    answers, took_s = await timed(many(proxy, 8, stream=True))

    assert [answer.text for answer in answers] == ["x"] * 8
    assert took_s >= 8 * 0.05
    gaps = [later.at - earlier.at for earlier, later in zip(upstream.requests, upstream.requests[1:], strict=False)]
    assert min(gaps) >= 0.045, "one after the other"
    assert pool(proxy).in_flight == 0


async def test_the_queue_is_bounded_by_the_budget(make_proxy, upstream):
    upstream.says(chunk({"content": "x"}), stall())
    proxy = await make_proxy(demo(upstream, rotation={"max_concurrent": 1}, max_wait_s=0.3))
    holder = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    answer, took_s = await timed(proxy.chat("demo/small", "hi"))
    await leave(holder)

    assert (answer.status, answer.error["code"]) == (429, "capacity_exhausted")
    assert "busy" in answer.error["message"]
    assert 0.25 < took_s < 1.5
    assert answer.headers["retry-after"] == "1"
    assert len(upstream.requests) == 1


async def test_whoever_waits_for_a_busy_credential_takes_one_whose_rest_ends_first(make_proxy, upstream):
    upstream.for_key("key-a").replies(429, headers=QUICK)
    upstream.for_key("key-a").replies()
    upstream.for_key("key-b").says(chunk({"content": "x"}), stall())
    proxy = await make_proxy(demo(upstream, "key-a", "key-b", rotation={"max_concurrent": 1}))
    holder = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: len(upstream.requests) == 2)

    answer, took_s = await timed(proxy.chat("demo/small", "hi"))
    await leave(holder)

    assert answer.text == "hello"
    assert took_s < 1.5


async def test_a_waiting_client_that_leaves_costs_nothing(make_proxy, upstream):
    upstream.says(chunk({"content": "x"}), pause(0.4), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    upstream.replies()
    proxy = await make_proxy(demo(upstream, rotation={"max_concurrent": 1}))
    holder = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)
    leaving = [asyncio.create_task(proxy.chat("demo/small", "hi")) for _ in range(3)]
    await until(lambda: len(proxy.proxy.services.running.scopes) == 4)
    staying = asyncio.create_task(proxy.chat("demo/small", "hi"))
    await until(lambda: len(proxy.proxy.services.running.scopes) == 5)

    for task in leaving:
        await leave(task)
    await until(lambda: len(proxy.proxy.services.running.scopes) == 2)

    assert (await holder).text == "x"
    assert (await staying).text == "hello"
    assert len(upstream.requests) == 2
    assert pool(proxy).in_flight == 0


async def test_ending_a_rest_wakes_those_who_wait_for_it(make_proxy, upstream):
    upstream.replies(429, headers={"retry-after": "30"})
    upstream.replies()
    proxy = await make_proxy(demo(upstream, max_wait_s=60))
    first = asyncio.create_task(proxy.chat("demo/small", "hi"))
    await until(lambda: proxy.resting("key-a"))
    waiting = asyncio.create_task(many(proxy, 5))
    await until(lambda: len(proxy.proxy.services.running.scopes) == 6)

    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    reply = await proxy.client.post(
        proxy.url.removesuffix("/v1") + "/admin/cooldowns/clear", headers={"authorization": f"Bearer {key}"}
    )
    answers, took_s = await timed(waiting)
    answers.append(await first)

    assert reply.json()["processes"][0]["cleared"] == 1
    assert [answer.text for answer in answers] == ["hello"] * 6
    assert took_s < 1


# --- Coming back -------------------------------------------------------------------------


async def test_an_outage_rests_the_provider_once_and_ends_with_one_probe(make_proxy, upstream):
    keys = [f"key-{n}" for n in range(10)]
    upstream.replies(500)
    proxy = await make_proxy(demo(upstream, *keys, circuit_breaker_failures=3, max_cooldown_s=0.6, max_wait_s=0.4))

    first = await proxy.chat("demo/small", "hi")
    second = await proxy.chat("demo/small", "hi")

    assert (first.status, second.status) == (502, 503)
    assert first.headers["retry-after"] == second.headers["retry-after"] == "1"
    assert len(upstream.requests) == 3, "three failures in a row, not one for each key"
    assert "rests" in second.error["message"]
    assert [proxy.resting(key) for key in keys] == [0] * 10

    upstream.queue.clear()
    upstream.says(pause(0.1), chunk({"content": "back"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    await asyncio.sleep(0.6)
    answers = await many(proxy, 20, stream=True)

    assert [answer.text for answer in answers] == ["back"] * 20
    probe, *others = (request.at for request in upstream.requests[3:])
    assert min(others) - probe >= 0.09
    assert pool(proxy).ledger.outage is None


async def test_a_client_that_leaves_with_the_probe_lets_another_one_find_out(make_proxy, upstream):
    upstream.replies(429, headers=QUICK)
    upstream.says(stall())
    upstream.replies()
    proxy = await make_proxy(demo(upstream))
    probing = asyncio.create_task(proxy.chat("demo/small", "hi"))
    await until(lambda: len(upstream.requests) == 2)
    waiting = asyncio.create_task(proxy.chat("demo/small", "hi"))
    await until(lambda: len(proxy.proxy.services.running.scopes) == 2)

    await leave(probing)

    assert (await asyncio.wait_for(waiting, 1)).text == "hello"
    assert proxy.resting("key-a") == 0
