"""Live feeds: what changed, to every open page, and nothing after they are closed."""

import asyncio
import time

from proxy_core.testing import fingerprint
from proxy_plugin_dashboard import live


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
    async with browser.feed("health") as following:
        await until(following, "state")
        over = time.time() + 3601
        monkeypatch.setattr("proxy_plugin_dashboard.live.time.time", lambda: over)
        await until(following, "ended")
        assert await following() is None


async def test_fifty_feeds_share_what_is_read_and_rendered_and_leave_nothing(browsing, monkeypatch):
    made, rendered = [], []
    remember, render = live.Live.__init__, live.rendered_blocks
    monkeypatch.setattr(live.Live, "__init__", lambda self: (made.append(self), remember(self))[1])
    monkeypatch.setattr(live, "rendered_blocks", lambda *what: (rendered.append(1), render(*what))[1])
    _, browser = await browsing()

    async def follow(number):
        async with browser.feed("accounts", f"page={number % 2}") as following:
            return await until(following, "list", "demo")

    texts = await asyncio.gather(*(follow(number) for number in range(50)))

    assert len(set(texts)) == 1
    assert len(rendered) <= 2 * made[0].tick  # two queries
    async with asyncio.timeout(10):
        while made[0]._groups:
            await asyncio.sleep(0.01)
