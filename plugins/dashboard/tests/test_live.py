"""Live feeds: what changed, to every open page, and nothing after they are closed."""

import asyncio

from proxy_core.testing import fingerprint


async def until(following, name, *words):
    async with asyncio.timeout(10):
        while (event := await following()) is not None:
            if event[0] == name and all(word in event[1] for word in words):
                return event[1]
    raise AssertionError(f"the feed ended before {name}: {words}")


async def test_a_feed_shows_everything_first_and_then_what_changed(browsing, upstream):
    proxy, browser = await browsing()
    upstream.for_key("key-a").responds(
        429, headers={"retry-after": "60"}, json_body={"error": {"message": "slow <b>down"}}
    )
    async with browser.feed("accounts") as following:
        first = await until(following, "list")
        assert fingerprint("key-a") in first
        assert "cooling down" not in first
        await proxy.chat("demo/small", "hi")
        after = await until(following, "list", "cooling down")

    assert "slow &lt;b&gt;down" in after
    assert "key-a" not in after


async def test_a_feed_ends_with_its_session(browsing, monkeypatch):
    _, browser = await browsing()
    monkeypatch.setattr("proxy_plugin_dashboard.session.IDLE_S", 1)
    await browser.sign_in()
    async with browser.feed("health") as following:
        await until(following, "ended")
        assert await following() is None


async def test_fifty_feeds_share_one_reading_of_the_status_and_leave_nothing(browsing, monkeypatch):
    from proxy_plugin_dashboard import live

    made = []
    remember = live.Live.__init__
    monkeypatch.setattr(live.Live, "__init__", lambda self: (made.append(self), remember(self))[1])
    _, browser = await browsing()

    async def follow(number):
        async with browser.feed("accounts", f"page={number % 2}") as following:
            return await until(following, "list", "demo")

    texts = await asyncio.gather(*(follow(number) for number in range(50)))

    assert len(set(texts)) == 1
    assert made[0].tick < 10
    async with asyncio.timeout(10):
        while made[0]._groups:
            await asyncio.sleep(0.01)
