"""Who is told when a credential may be had."""

import asyncio

from waiting import QUICK, demo, many, timed, until

from proxy_core.testing import chunk, pause

SLOW = {"retry-after": "30"}


async def test_a_lease_that_comes_back_reaches_whoever_can_use_it(make_proxy, upstream):
    """Who waits longest waits for another model, whose rest goes on."""
    upstream.replies(429, headers={"retry-after-ms": "1200"})
    upstream.says(chunk({"content": "x"}), pause(0.3), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    upstream.replies()
    proxy = await make_proxy(demo(upstream, rotation={"max_concurrent": 1}))
    longest = asyncio.create_task(proxy.chat("demo/limited", "hi"))
    await until(lambda: proxy.resting("key-a"))
    holder = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: len(upstream.requests) == 2)
    await asyncio.sleep(0.05)

    answer, took_s = await timed(proxy.chat("demo/small", "hi"))
    await asyncio.gather(holder, longest)

    assert answer.text == "hello"
    assert took_s < 0.7


async def test_after_a_rest_one_request_finds_out_and_then_the_others_follow(make_proxy, upstream):
    """One request, not a herd; and when it was answered the others do not go one by one."""
    upstream.replies(429, headers=QUICK)
    upstream.says(pause(0.3), chunk({"content": "x"}), chunk({}, finish="stop"), b"data: [DONE]\n\n")
    proxy = await make_proxy(demo(upstream))
    first = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: proxy.resting("key-a"))

    answers = [*await many(proxy, 19, stream=True), await first]

    assert [answer.text for answer in answers] == ["x"] * 20
    limited, probe, *others = (request.at for request in upstream.requests)
    assert probe - limited >= 0.29
    assert len(others) == 19
    assert min(others) - probe >= 0.29, "nobody before the one that finds out was answered"
    assert max(others) - min(others) < 0.3, "and then all of them"


async def test_when_the_one_that_finds_out_fails_the_others_are_told_at_once(make_proxy, upstream):
    upstream.replies(429, headers=QUICK)
    upstream.says(pause(0.2), b'data: {"error":{"message":"no","code":429}}\n\n', headers=SLOW)
    proxy = await make_proxy(demo(upstream, max_wait_s=5))
    first = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: proxy.resting("key-a"))

    answers, took_s = await timed(many(proxy, 10, stream=True))
    await first

    assert {answer.status for answer in answers} == {429}
    assert len(upstream.requests) == 2
    assert took_s < 2


async def test_who_waited_is_forgotten_everywhere(make_proxy, upstream):
    """Waiting at two providers leaves nothing behind at the one that never had anything to tell."""
    providers = {
        "demo": {"base_url": upstream.url, "api_keys": ["key-a"]},
        "other": {"base_url": upstream.url, "api_keys": ["key-b"]},
    }
    upstream.for_key("key-b").replies(429, headers={"retry-after": "600"})
    upstream.for_key("key-a").replies(429, headers={"retry-after-ms": "20"})
    proxy = await make_proxy({"providers": providers, "models": {"best": ["other/x", "demo/x"]}})
    for _ in range(2):
        upstream.for_key("key-a").queue[:] = 2 * upstream.for_key("key-a").queue[-1:]
        upstream.for_key("key-a").replies()
        await proxy.chat("best", "hi")
        upstream.for_key("key-a").queue[:] = []
        upstream.for_key("key-a").replies(429, headers={"retry-after-ms": "20"})

    assert sum(p.waiting for p in proxy.proxy.pools.values()) == 0
