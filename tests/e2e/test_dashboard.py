"""The dashboard of a program with two workers: a login finds its process, and every worker knows every session."""

import asyncio
import html
import re
from contextlib import asynccontextmanager

import httpx
import pytest
from oauth_site import install

from proxy_core.testing import FakeOAuthServer, FakeUpstream, serving
from proxy_plugin_dashboard.testing import ADMIN_KEY, Browser

SETTINGS = f'[admin]\nkey = "{ADMIN_KEY}"\n'


@pytest.fixture
async def server():
    async with FakeOAuthServer() as server:
        yield server


@asynccontextmanager
async def dashboard(home, server, *arguments, settings=SETTINGS):
    """The program, and a browser whose every request is a connection of its own, so any worker may get it."""
    (home / "proxy-core.toml").write_text(settings)
    async with serving(home, *arguments, **install(home, server)) as program:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as client:
            browser = Browser(client, program.url)
            assert (await browser.sign_in()).status_code == 204
            yield program, browser


async def begin(browser, **form):
    """The path of the conversation."""
    await browser.page("accounts/add/ex_ample")
    response = await browser.post("/admin/ui/accounts/log-in", {"provider": "ex_ample", "understood": "yes", **form})
    assert response.status_code == 204, response.text
    return response.headers["hx-redirect"]


async def until(browser, path, pattern):
    """The match in the conversation, once it is there; times out by the test's limit."""
    async with asyncio.timeout(30):
        while not (found := re.search(pattern, (text := html.unescape((await browser.get(path)).text)))):
            assert "Not done" not in text
            await asyncio.sleep(0.05)
    return found


async def test_a_device_code_logs_in_whichever_worker_is_asked(tmp_path, server):
    async with dashboard(tmp_path, server, "--workers", "2") as (_, browser):
        page = await browser.page("accounts/add/ex_ample")
        assert "A fake vendor." in page and "https://vendor.example/terms" in page
        path = await begin(browser, method="device")
        code = (await until(browser, path, r'<code class="code">([\w-]+)</code>'))[1]
        assert "continue it" in await browser.page("accounts")
        server.approve(code)
        await until(browser, path, "The running proxy uses it")
        async with asyncio.timeout(20):
            while "dev@example.com" not in (accounts := await browser.page("accounts")):
                await asyncio.sleep(0.05)
        everything = accounts + (await browser.get(path)).text

    assert "was saved in" in everything
    for family in server.families:
        assert family.current not in everything


@pytest.mark.slow
async def test_a_login_in_this_browser_comes_back_to_this_machine(tmp_path, server):
    async with dashboard(tmp_path, server, "--workers", "2") as (_, browser):
        assert "In this browser" in await browser.page("accounts/add/ex_ample")
        cookie = f"proxy_core={next(iter(browser.client.cookies.jar)).value}"
        elsewhere = await browser.get("/admin/ui/accounts/add/ex_ample", host="192.168.0.7", cookie=cookie)
        assert "With a code" in elsewhere.text and "In this browser" not in elsewhere.text
        path = await begin(browser, method="browser")
        link = (await until(browser, path, r'href="(http://[^"]+/authorize[^"]+)"'))[1]
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
            assert (await client.get(link)).status_code == 200
        await until(browser, path, "The running proxy uses it")


@pytest.mark.slow
async def test_a_result_is_pasted_and_a_wrong_one_is_asked_for_again(tmp_path, server):
    async with dashboard(tmp_path, server, "--workers", "2") as (_, browser):
        path = await begin(browser, method="paste", name="mine")
        link = (await until(browser, path, r'href="(http://[^"]+/authorize[^"]+)"'))[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            gone_to = (await client.get(link)).headers["location"]
        for answer, then in (("not a code at all?x=1", "Not accepted"), (gone_to, "The running proxy uses it")):
            asked = (await until(browser, path, r'name="asked" value="(\d+)"'))[1]
            form = {"id": path.rpartition("/")[2], "asked": asked, "answer": answer}
            await browser.page("accounts/add/ex_ample")
            assert (await browser.post("/admin/ui/accounts/answer", form)).status_code == 200
            last = (await until(browser, path, then)).string
        again = await browser.post("/admin/ui/accounts/answer", form)

    assert again.status_code == 409
    assert gone_to not in last
    logins = tmp_path / "data" / "plugins" / "dashboard" / "logins"
    assert [file.suffix for file in tmp_path.rglob("logins/*")] == [".json"], logins


async def test_a_login_is_refused_cancelled_or_lost_in_words(tmp_path, server):
    async with dashboard(tmp_path, server) as (_, browser):
        await browser.page("accounts/add/ex_ample")
        unread = await browser.post("/admin/ui/accounts/log-in", {"provider": "ex_ample"})
        nowhere = await browser.post("/admin/ui/accounts/log-in", {"provider": "nobody", "understood": "yes"})
        path = await begin(browser, method="device")
        await until(browser, path, 'class="code"')
        cancelled = await browser.post("/admin/ui/accounts/cancel", {"id": path.rpartition("/")[2]})
        await until(browser, path, "The login was cancelled; nothing was saved.")
        denied = await begin(browser, method="device")
        server.deny((await until(browser, denied, r'<code class="code">([\w-]+)</code>'))[1])
        await until(browser, denied, "(?i)denied|refused|declined")
        unknown = [
            await browser.get(f"/admin/ui/accounts/login/{name}") for name in ("x" * 27, "..%2f..%2fadmin.key", "")
        ]

    assert (unread.status_code, "Confirm first" in unread.text) == (409, True)
    assert (nowhere.status_code, "is not a known provider" in nowhere.text) == (409, True)
    assert cancelled.status_code == 200
    assert all("no such login on this machine" in page.text for page in unknown)
    assert "dev@example.com" not in str(list(tmp_path.rglob("credentials/*")))


async def test_a_login_in_a_process_that_ended_is_lost_and_says_so(tmp_path, server, monkeypatch):
    async with dashboard(tmp_path, server) as (_, browser):
        path = await begin(browser, method="device")
        await until(browser, path, 'class="code"')
    monkeypatch.setattr("proxy_plugin_dashboard.logins._DEAD_S", -1)
    [file] = tmp_path.rglob("logins/*.json")
    from proxy_plugin_dashboard import logins

    login = logins.read(file.parent, file.stem)
    assert (login.lost, login.outcome) == (True, "")
    assert logins.open_logins(file.parent) == []


@pytest.mark.slow
async def test_a_stored_login_is_renewed_disabled_and_enabled(tmp_path, server):
    async with dashboard(tmp_path, server, "--workers", "2") as (_, browser):
        path = await begin(browser, method="device")
        server.approve((await until(browser, path, r'<code class="code">([\w-]+)</code>'))[1])
        await until(browser, path, "The running proxy uses it")
        form = {"provider": "ex_ample", "credential": "dev@example.com"}
        before = server.families[0].current
        renewed = await browser.post("/admin/ui/accounts/renew", form)
        assert (renewed.status_code, "its token was renewed" in renewed.text) == (200, True), renewed.text
        assert server.families[0].current != before
        off = await browser.post("/admin/ui/accounts/disable", form)
        assert (off.status_code, "is disabled" in off.text) == (200, True), off.text
        assert "Enable" in await browser.page("accounts")
        on = await browser.post("/admin/ui/accounts/enable", form)
        assert (on.status_code, "is enabled" in on.text) == (200, True)
        server.revoke_all()
        failed = await browser.post("/admin/ui/accounts/renew", form)

    assert (failed.status_code, "no longer accepts this login" in html.unescape(failed.text)) == (409, True), (
        failed.text
    )


async def test_a_change_in_one_worker_is_seen_on_the_feed_of_any(tmp_path, server):
    async with FakeUpstream() as upstream:
        settings = f'{SETTINGS}[clients.me]\nkey = "a-clients-key"\n[providers.demo]\nbase_url = "{upstream.url}"\n'
        settings += 'api_keys = ["key-a"]\n[routing]\nmax_wait_s = 0\n'
        upstream.for_key("key-a").responds(429, headers={"retry-after": "600"})
        async with (
            dashboard(tmp_path, server, "--workers", "2", settings=settings) as (program, browser),
            browser.feed("accounts") as one,
            browser.feed("accounts", "page=1") as other,
        ):
            assert all([await one(), await other()])
            body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
            headers = {"authorization": "Bearer a-clients-key"}
            await browser.client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)
            for following in (one, other):
                async with asyncio.timeout(20):
                    while '"badge warn">used up' not in (await following())[1]:
                        pass
