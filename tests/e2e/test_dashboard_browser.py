"""The dashboard in a real browser: every page and every button, with two workers, on SQLite and on Redis.

It needs Chromium, and Playwright's client: ``uv sync --group browser``.
"""

import re
import shutil
from contextlib import asynccontextmanager, nullcontext

import pytest
from benchmarks.shared_run import redis_binary, redis_server
from oauth_site import install

from proxy_core.testing import FakeOAuthServer, FakeUpstream, serving
from proxy_plugin_dashboard.testing import ADMIN_KEY

playwright = pytest.importorskip("playwright.async_api", reason="needs Playwright: uv sync --group browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

expect = playwright.expect
expect.set_options(timeout=20_000)
PAGES = ("accounts", "requests", "usage", "models", "plugins", "settings", "health")
CLIENT = "key-of-the-laptop"
#: The browser logs each refused request, and htmx each feed that ends with its settings.
EXPECTED = re.compile(r"status of 4(01|09)|Error Code 4(01|09)|\[object Event\]")
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
SETTINGS = """
[admin]
key = "{admin}"
[clients.laptop]
key = "{client}"
[routing]
max_wait_s = 1
[providers.demo]
base_url = "{url}"
models = {{ small = {{ input_price = 1000.0, output_price = 1000.0 }} }}
api_keys = [{{ key = "key-a", label = "home" }}, {{ key = "key-b", label = "work" }}]
"""


@pytest.fixture
async def chromium():
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Desk:
    """A program with an upstream, a login server, and a page in the browser that has noted every complaint."""

    def __init__(self, program, upstream, server, page):
        self.program, self.upstream, self.server, self.page = program, upstream, server, page
        self.complaints = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, kind, text):
        if kind in ("error", "warning") and not EXPECTED.search(text):
            self.complaints.append(text)

    async def open(self, name):
        await self.page.goto(f"{self.program.url}/admin/ui/{name}")

    async def sign_in(self):
        await self.open("")
        await self.page.get_by_label("Admin key").fill(ADMIN_KEY)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url("**/admin/ui/accounts")
        await expect(self.page.locator(".connection")).to_have_text("live")

    async def chat(self, model="demo/small"):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": f"Bearer {CLIENT}"}
        answer = await self.page.context.request.post(
            f"{self.program.url}/v1/chat/completions", data=body, headers=headers
        )
        return answer.status

    async def told(self, text, *, good=True):
        """The message about an action, which is then closed."""
        notice = self.page.locator(".notice")
        await expect(notice).to_contain_text(text)
        assert ("good" in await notice.get_attribute("class")) == good, await notice.inner_text()
        await notice.get_by_role("button", name="Close").click()
        await expect(notice).to_have_count(0)

    def account(self, label):
        return self.page.locator(".account").filter(
            has=self.page.locator(".who strong", has_text=re.compile(f"^{re.escape(label)}$"))
        )

    async def press(self, label, button):
        await self.account(label).get_by_role("button", name=button).click()


@asynccontextmanager
async def desk_at(home, chromium, store=None, **context):
    home.mkdir(exist_ok=True)
    async with FakeUpstream() as upstream, FakeOAuthServer() as server:
        (home / "proxy-core.toml").write_text(SETTINGS.format(admin=ADMIN_KEY, client=CLIENT, url=upstream.url))
        with store or nullcontext() as redis:
            variables = install(home, server)
            if redis is not None:
                variables["PROXY_STATE__URL"] = redis.url
            config = str(home / "proxy-core.toml")  # named, because one that is only found may not send keys anywhere
            async with serving(home, "--config", config, "--workers", "2", **variables) as program:
                tab = await chromium.new_context(**context)
                desk = Desk(program, upstream, server, await tab.new_page())
                await desk.sign_in()
                yield desk
                await tab.close()


@pytest.fixture(params=["sqlite", "redis"])
async def desk(request, tmp_path, chromium):
    if request.param == "redis" and redis_binary() is None:
        pytest.skip("needs redis-server or valkey-server")
    store = redis_server(tmp_path) if request.param == "redis" else None
    async with desk_at(tmp_path / "home", chromium, store) as desk:
        yield desk
        assert desk.complaints == []


async def test_a_new_user_sees_which_account_is_used_up_until_when_and_what_today_cost(desk):
    desk.upstream.for_key("key-b").responds(
        429, headers={"retry-after": "5400"}, json_body={"error": {"message": HOSTILE}}
    )
    statuses = [await desk.chat() for _ in range(4)]
    assert statuses == [200] * 4
    summary = desk.page.locator(".tiles")

    await expect(summary).to_contain_text(re.compile(r"work \(demo\) until \d"))
    await expect(summary).to_contain_text(re.compile(r"\$0\.02\d*\s*today, for 4 requests"))
    await expect(desk.account("work")).to_contain_text("used up")
    await expect(desk.account("work")).to_contain_text("<script>")
    assert await desk.page.title() == "Accounts · proxy-core"


async def test_every_button_of_the_accounts(desk):
    desk.upstream.for_key("key-a").responds(401)
    await desk.chat()
    await desk.press("home", "Clear cooldown")
    await desk.told("cleared")
    await expect(desk.account("home")).not_to_contain_text("tried again at")
    await desk.press("home", "Test")
    await desk.told("rejected by the provider", good=False)
    await desk.press("work", "Test")
    await desk.told("accepts it")

    await desk.page.locator(".provider", has_text="demo").first.get_by_role("link", name="Add an account").click()
    await desk.page.locator("input[name=key]").fill("key-of-mine")
    await desk.page.locator("#add-key + form").get_by_label("Name").fill("mine")
    await desk.page.get_by_role("button", name="Add", exact=True).click()
    await desk.told("One key was added")
    assert await desk.page.locator("input[name=key]").input_value() == ""
    await desk.open("accounts?q=mine")
    desk.page.on("dialog", lambda dialog: dialog.accept())
    await desk.press("mine", "Disable")
    await desk.told("is disabled")
    await expect(desk.account("mine").get_by_role("button", name="Enable")).to_be_visible()
    await desk.press("mine", "Enable")
    await desk.told("is enabled")
    await expect(desk.account("mine")).to_contain_text("usable")
    assert "key-of-mine" not in await desk.page.content()

    await desk.page.get_by_label("Search accounts").fill("nobody")
    await desk.page.get_by_role("button", name="Show").click()
    await expect(desk.page.get_by_text("No account matches")).to_be_visible()
    await desk.page.get_by_role("link", name="Show all").click()
    await desk.page.get_by_label("Show", exact=True).select_option("act")
    await desk.page.get_by_role("button", name="Show").click()
    await expect(desk.page).to_have_url(re.compile("only=act"))


async def test_a_login_with_a_device_code_survives_a_reload_and_is_then_renewed(desk):
    await desk.open("accounts/add/ex_ample")
    await desk.page.get_by_label("With a code, on any device").check()
    submit = desk.page.get_by_role("button", name="Log in", exact=True)
    await submit.click()
    await expect(desk.page.get_by_label("I have read this")).not_to_be_checked()  # the browser asks for it
    await desk.page.get_by_label("I have read this").check()
    await submit.click()
    code = desk.page.locator(".code")
    await expect(code).to_be_visible()
    await desk.page.reload()
    desk.server.approve(await code.inner_text())
    await expect(desk.page.locator(".outcome.good")).to_contain_text("The running proxy uses it")
    await desk.page.get_by_role("link", name="To the accounts").click()
    await desk.press("dev@example.com", "Renew token")
    await desk.told("its token was renewed")


async def test_a_pasted_result_and_a_cancelled_login(desk):
    for finish in ("paste", "cancel"):
        await desk.open("accounts/add/ex_ample")
        await desk.page.get_by_label("In a browser, then paste the result here").check()
        await desk.page.get_by_label("I have read this").check()
        await desk.page.get_by_role("button", name="Log in", exact=True).click()
        link = await desk.page.get_by_role("link", name="Open the provider's page").get_attribute("href")
        if finish == "cancel":
            await desk.page.get_by_role("button", name="Cancel the login").click()
            await expect(desk.page.locator(".outcome.bad")).to_contain_text("cancelled")
            continue
        answer = await desk.page.context.request.get(link, max_redirects=0)
        await desk.page.locator("input[name=answer]").fill(answer.headers["location"])
        await desk.page.get_by_role("button", name="Continue").click()
        await expect(desk.page.locator(".outcome.good")).to_contain_text("The running proxy uses it")


async def test_the_frame_pages_theme_keyboard_and_signing_out(desk):
    page = desk.page
    await desk.chat()
    for name in PAGES:
        await page.locator(f'nav.pages a[href="/admin/ui/{name}"]').click()
        await expect(page.locator("h1")).to_be_visible()
        await expect(page.locator("nav.pages [aria-current]")).to_have_attribute("href", f"/admin/ui/{name}")
    await expect(page.locator("#checks")).to_contain_text("doctor")
    await page.get_by_role("button", name="Check again").click()
    for theme in ("light", "dark"):
        await page.locator("[data-theme-switch]").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", theme)
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await page.locator("[data-theme-switch]").click()
    assert await page.locator("html").get_attribute("data-theme") is None

    await page.keyboard.press("Tab")
    await page.goto(page.url)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"

    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/admin/ui/login")
    await page.get_by_label("Admin key").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("This is not the admin key.")
    await desk.open("health")
    await page.wait_for_url("**/admin/ui/login?next=/admin/ui/health")
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/ui/health")


async def test_what_was_opened_and_typed_stays_while_the_page_is_kept_up_to_date(desk):
    search = desk.page.get_by_label("Search accounts")
    await search.fill("half a wo")
    await desk.press("home", "Test")
    await expect(desk.page.locator(".notice")).to_contain_text("accepts it")
    desk.upstream.for_key("key-a").responds(429, headers={"retry-after": "600"})
    await desk.chat()
    await expect(desk.account("home")).to_contain_text("used up")
    assert await search.input_value() == "half a wo"
    await expect(desk.page.locator(".notice")).to_contain_text("accepts it")


async def test_a_page_that_nobody_sees_has_no_feed_and_catches_up_when_it_is_seen_again(desk):
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    await desk.page.evaluate(hide, True)
    await expect(desk.page.locator(".connection")).to_have_text("paused")
    desk.upstream.for_key("key-a").responds(429, headers={"retry-after": "600"})
    for _ in range(2):
        await desk.chat()
    await expect(desk.account("home")).not_to_contain_text("used up")
    await desk.page.evaluate(hide, False)
    await expect(desk.page.locator(".connection")).to_have_text("live")
    await expect(desk.account("home")).to_contain_text("used up")

    await desk.page.context.clear_cookies()
    for hidden in (True, False):
        await desk.page.evaluate(hide, hidden)
    await desk.page.wait_for_url("**/admin/ui/login?next=/admin/ui/accounts")


@pytest.mark.parametrize("size", [(360, 740), (1280, 900)], ids=["phone", "desktop"])
async def test_no_page_is_wider_than_its_window(tmp_path, chromium, size):
    width, height = size
    async with desk_at(tmp_path, chromium, viewport={"width": width, "height": height}) as desk:
        desk.upstream.for_key("key-b").responds(
            429, {"error": {"message": "long" * 200}}, headers={"retry-after": "900"}
        )
        await desk.chat()
        await desk.chat()
        for name in (*PAGES, "accounts/add/ex_ample", "health/checks"):
            await desk.open(name)
            await expect(desk.page.locator("h1")).to_be_visible()
            assert await desk.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert desk.complaints == []
