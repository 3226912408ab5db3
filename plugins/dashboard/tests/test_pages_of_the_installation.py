"""Plugins and settings: what is installed and set, a check and a reload."""

import html
import re

import pytest

from proxy_core import PluginInfo, Sanitizer
from proxy_core.testing import plugin_with

SECRETS = ("a-key-of-the-demo", "the-admin-key", "a-key-of-the-laptop", "hidden-in-a-header")


def words(page):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.fixture
def installed(browsing, upstream):
    async def make(modules=(), **tables):
        demo = {"base_url": upstream.url, "api_keys": [SECRETS[0]], "headers": {"x-own": SECRETS[3]}}
        clients = {"laptop": {"key": SECRETS[2]}}
        return await browsing(modules, **{"providers": {"demo": demo}, "clients": clients, **tables})

    return make


# --- Plugins -----------------------------------------------------------------------------


async def test_plugins_with_what_they_bring_and_how_they_do(installed):
    def grumpy(request):
        raise ValueError("a secret of the request")

    module = plugin_with(proxy_sanitizers=[Sanitizer(name="grumpy", request=grumpy)])
    proxy, browser = await installed([module])
    await proxy.post("/chat/completions", {"model": "demo/small", "messages": []}, key=SECRETS[2])
    chat = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    assert (await proxy.post("/chat/completions", chat, key=SECRETS[2])).status == 500
    page = await browser.page("plugins")
    cards = [words(card) for card in re.findall(r'<section class="card plugin".*?</section>', page, re.DOTALL)]

    assert cards[0].strip().startswith("tested active 1 failure")
    assert "sanitizer grumpy" in cards[0]
    assert any(card.strip().startswith("openai_compat active") and "providers" in card for card in cards)
    assert "a secret of the request" not in page


async def test_why_a_plugin_is_not_used(installed):
    module = plugin_with(proxy_admin_pages=["not a page <b>at all</b>"])
    module.PLUGIN = PluginInfo(name="broken", api=1)
    _, browser = await installed([module], plugins={"disabled": ["prometheus"]})
    page = await browser.page("plugins")
    cards = [words(card) for card in re.findall(r'<section class="card plugin".*?</section>', page, re.DOTALL)]

    assert cards[0].strip().startswith("broken skipped")
    assert any(card.strip().startswith("prometheus disabled") for card in cards)
    assert "<b>at all" not in page


# --- Settings ----------------------------------------------------------------------------


async def test_values_with_their_origin_and_no_secret(installed):
    _, browser = await installed()
    page = await browser.page("settings?all=1")
    rows = [words(row).strip() for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]

    assert any(row.startswith("server.port") for row in rows)
    assert any(row.startswith("clients.laptop.key ********") for row in rows)
    assert [row for row in rows if row.startswith("plugins.dashboard.allowed_hosts [] default")]
    assert not any(secret in page for secret in SECRETS)


async def test_a_search_for_a_setting(installed):
    _, browser = await installed()

    assert "timeouts.connect_s" in (found := await browser.page("settings?q=connect_s"))
    assert "server.port" not in found
    assert "No setting matches" in words(await browser.page("settings?q=nothing+of+the+kind"))


async def test_what_a_reload_and_a_restart_would_change(installed):
    proxy, browser = await installed()
    proxy.tables |= {"timeouts": {"idle_s": 77}, "log": {"level": "warning"}, "clients": {"laptop": {"key": "b" * 20}}}
    page = await browser.page("settings")
    waiting = words(page[page.index("not in effect yet") : page.index('role="search"')])

    assert re.search(r"timeouts\.idle_s \S+ 77.* a reload", waiting)
    assert re.search(r'log\.level "\w+" "warning" a restart', waiting)
    assert "clients.laptop.key ******** a different secret a reload" in waiting

    done = await browser.post("/admin/ui/settings/reload")
    assert done.status_code == 200
    text = words(done.text)
    assert "Changed: timeouts.idle_s" in text
    assert "Needs a restart: log.level" in text
    page = await browser.page("settings")
    waiting = words(page[page.index("not in effect yet") : page.index('role="search"')])
    assert "log.level" in waiting
    assert "timeouts.idle_s" not in waiting
    assert "b" * 20 not in page


async def test_settings_with_a_problem_are_checked_and_not_loaded(installed):
    proxy, browser = await installed()
    assert "The settings are valid" in words((await fresh(browser, "check")).text)
    proxy.tables |= {"server": {"port": "<b>eight thousand</b>"}}
    page = await browser.page("settings")
    check, reload = await fresh(browser, "check"), await fresh(browser, "reload")

    assert "The next start would fail server.port" in words(page)
    assert (check.status_code, reload.status_code) == (409, 409)
    assert "Problem: server.port" in words(check.text)
    assert "Nothing was changed" in words(reload.text)
    assert "server.port" in words(reload.text)
    assert not any("<b>eight" in text for text in (page, check.text, reload.text))


async def fresh(browser, action):
    await browser.page("settings")
    return await browser.post(f"/admin/ui/settings/{action}")


@pytest.mark.parametrize("action", ["settings/check", "settings/reload"])
async def test_nothing_is_done_without_the_token_of_the_page(installed, action):
    proxy, browser = await installed()
    proxy.tables |= {"timeouts": {"idle_s": 77}}

    assert (await browser.post(f"/admin/ui/{action}")).status_code == 403
    assert proxy.proxy.loaded.settings.timeouts.idle_s != 77
