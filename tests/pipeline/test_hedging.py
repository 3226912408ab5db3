"""Asking a second credential while the first says nothing."""

import asyncio
import json
from contextlib import suppress

import pytest

from proxy_core.testing import chunk, fingerprint, pause, stall

EITHER = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@pytest.fixture
def hedging(make_proxy):
    """Makes a proxy that asks a second of its two keys after 0.1 s."""

    async def make(**routing):
        provider = {"api_keys": ["key-a", "key-b"]}
        routing = {
            "selector": "sequential",
            "hedge_after_s": 0.1,
            "max_wait_s": 2,
            "attempts_per_credential": 1,
        } | routing
        return await make_proxy({"providers": {"demo": provider}, "routing": routing})

    return make


def in_flight(proxy):
    return proxy.proxy.pools["demo"].in_flight


def record(proxy, answer):
    return proxy.proxy.services.recent.get(answer.headers["x-request-id"])


async def test_requests_are_hedged_only_if_settings_say_so(proxy, upstream, clock):
    upstream.for_key("key-a").says(pause(0.3), chunk({"content": "slow"}), chunk({}, finish="stop"))

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=True))

    assert answer.text == "slow"
    assert upstream.keys_seen == ["key-a"]


@EITHER
async def test_the_second_answers_and_the_first_is_closed(hedging, upstream, stream, clock):
    upstream.for_key("key-a").says(stall())
    proxy = await hedging()

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.text == "hello"
    assert upstream.keys_seen == ["key-a", "key-b"]
    assert upstream.requests[1].at - upstream.requests[0].at == pytest.approx(0.1)
    await clock.settle()
    assert upstream.requests[0].left_at == upstream.requests[1].at, "as soon as the other one answers"
    assert in_flight(proxy) == 0
    assert proxy.cooldown_s("key-a") == 0, "slow is not broken"


@EITHER
async def test_the_headers_name_the_attempt_that_answered_and_the_other_is_recorded_as_abandoned(
    hedging, upstream, stream, clock
):
    upstream.for_key("key-a").says(stall())
    proxy = await hedging()

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.headers["x-proxy-credential"] == fingerprint("key-b")
    assert answer.headers["x-proxy-attempts"] == "2"
    noted = {attempt.credential: (attempt.status, attempt.message) for attempt in record(proxy, answer).attempts}
    assert noted == {fingerprint("key-a"): (None, "cancelled"), fingerprint("key-b"): (200, None)}


@EITHER
async def test_the_first_may_still_win_and_then_the_second_is_closed(hedging, upstream, stream, clock):
    upstream.for_key("key-a").says(
        pause(0.3), chunk({"content": "first"}), chunk({}, finish="stop"), b"data: [DONE]\n\n"
    )
    upstream.for_key("key-b").says(stall())
    proxy = await hedging()

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.text == "first"
    assert answer.headers["x-proxy-credential"] == fingerprint("key-a")
    assert upstream.keys_seen == ["key-a", "key-b"]
    await clock.settle()
    assert upstream.requests[1].left.is_set()
    assert in_flight(proxy) == 0


@EITHER
async def test_the_first_fails_while_the_second_runs(hedging, upstream, stream, clock):
    upstream.for_key("key-a").says(pause(0.2), b'data: {"error":{"message":"no","code":429}}\n\n')
    upstream.for_key("key-b").says(
        pause(0.3), chunk({"content": "second"}), chunk({}, finish="stop"), b"data: [DONE]\n\n"
    )
    proxy = await hedging()

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.text == "second"
    assert upstream.keys_seen == ["key-a", "key-b"]
    assert proxy.cooldown_s("key-a") > 0
    await clock.settle()
    assert in_flight(proxy) == 0


@EITHER
async def test_both_fail(hedging, upstream, stream, clock):
    error = b'data: {"error":{"message":"no","code":429}}\n\n'
    upstream.for_key("key-a").says(pause(0.2), error)
    upstream.for_key("key-b").says(pause(0.2), error)
    proxy = await hedging()

    answer = await clock.run(proxy.chat("demo/small", "hi", stream=stream))

    assert answer.status == 429
    assert len(answer.error["attempts"]) == 2
    assert proxy.cooldown_s("key-a") > 0
    assert proxy.cooldown_s("key-b") > 0
    assert in_flight(proxy) == 0


@EITHER
async def test_a_client_that_leaves_during_the_race_ends_both(hedging, upstream, stream, clock):
    upstream.says(stall())
    proxy = await hedging()
    asking = asyncio.create_task(proxy.chat("demo/small", "hi", stream=stream))
    await clock.settle()
    clock.passes(0.1)
    await clock.settle()
    assert len(upstream.requests) == 2

    asking.cancel()
    await clock.settle()

    assert all(request.left.is_set() for request in upstream.requests)
    assert in_flight(proxy) == 0


async def test_no_lease_is_lost_however_races_and_leavings_fall_together(hedging, upstream, clock):
    upstream.for_key("key-a").says(pause(0.03), chunk({"content": "a"}), pause(0.03), chunk({}, finish="stop"))
    upstream.for_key("key-b").says(pause(0.02), chunk({"content": "b"}), pause(0.03), chunk({}, finish="stop"))
    proxy = await hedging(hedge_after_s=0.01, hedge_max_ratio=1)

    async def leaves(after_s):
        with suppress(TimeoutError):
            async with clock.timeout(after_s):
                await proxy.chat("demo/small", "hi", stream=True)

    await clock.run(asyncio.gather(*(leaves(0.01 + n * 0.002) for n in range(60))))
    await clock.settle()

    assert in_flight(proxy) == 0
    assert not proxy.proxy.services.running.scopes


async def test_only_a_share_of_requests_is_hedged(hedging, upstream, clock):
    upstream.says(pause(0.06), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await hedging(hedge_after_s=0.02, hedge_max_ratio=0.25)

    for _ in range(9):
        await clock.run(proxy.chat("demo/small", "hi", stream=True))

    assert len(upstream.requests) - 9 == 3, "the first, and then one in four"


async def test_without_a_second_credential_the_first_goes_on_alone(make_proxy, upstream, clock):
    upstream.says(pause(0.2), chunk({"content": "alone"}), chunk({}, finish="stop"))
    proxy = await make_proxy({"providers": {"demo": {"api_keys": ["key-a"]}}, "routing": {"hedge_after_s": 0.05}})

    assert (await clock.run(proxy.chat("demo/small", "hi", stream=True))).text == "alone"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("limit", [{"max_attempts": 1}, {"max_wait_s": 0.05}], ids=json.dumps)
async def test_the_second_is_an_attempt_like_any_other(hedging, upstream, limit, clock):
    upstream.for_key("key-a").says(pause(0.3), chunk({"content": "slow"}), chunk({}, finish="stop"))
    proxy = await hedging(**limit)

    assert (await clock.run(proxy.chat("demo/small", "hi", stream=True))).text == "slow"
    assert upstream.keys_seen == ["key-a"]


async def test_a_quick_first_costs_nothing(hedging, upstream, clock):
    proxy = await hedging()

    answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))

    assert (answer.text, took_s) == ("hello", 0)
    assert upstream.keys_seen == ["key-a"]
