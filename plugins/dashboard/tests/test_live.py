"""Live feeds: what changed, to every open page, and nothing after they are closed."""

import asyncio
import time

import httpx
import pytest

from proxy_core import PageRequest
from proxy_core.cli.api import load
from proxy_core.testing import fingerprint
from proxy_plugin_dashboard import live
from proxy_plugin_dashboard.page import Asked, Page
from proxy_plugin_dashboard.session import begun
from proxy_plugin_dashboard.testing import Browser


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


async def test_signing_out_ends_the_feeds_of_other_tabs_and_a_copy_of_the_cookie_and_nobody_elses(browsing):
    _, browser = await browsing()
    await browser.page("health")
    copied = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.client.cookies.jar)
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        other = Browser(client, browser.root)
        await other.sign_in()
        async with browser.feed("health") as following, other.feed("health") as others:
            await until(following, "state")
            await until(others, "state")
            await browser.post("/admin/ui/logout")
            await until(following, "ended")
            assert await following() is None
            assert (await other.get("/admin/ui/health")).status_code == 200
    assert (await browser.get("/admin/ui/health", cookie=copied)).status_code == 303
    assert (await browser.get("/admin/ui/live/health", cookie=copied)).status_code == 401


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


async def test_a_page_that_fails_ends_its_own_feeds_and_no_others(tmp_path):
    async def nothing(*_, **__):
        return ()

    async def show(asked):
        return {}

    async def fail(asked):
        raise LookupError("the page's own")

    read = dict.fromkeys(("status", "statuses", "call", "sign", "read_settings"), nothing)
    settings = load(environ={}, cwd=tmp_path)
    request = PageRequest(method="GET", path="", query={}, headers={}, body=b"", admin=True, settings=settings, **read)
    asked = Asked(request=request, session=begun(time.time(), secure=False), logins=tmp_path, frame=dict)
    feeds = live.Live()
    good = aiter(feeds.feed(Page(name="health", title="", show=show), asked))
    broken = feeds.feed(Page(name="plugins", title="", show=fail), asked)
    await anext(good)
    waiting = asyncio.ensure_future(anext(good))
    await asyncio.sleep(0)  # it is this feed's turn to read

    with pytest.raises(LookupError):
        async for _ in broken:
            pass
    await broken.aclose()
    tick = feeds.tick
    async with asyncio.timeout(10):
        while feeds.tick == tick:
            await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
