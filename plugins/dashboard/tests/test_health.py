"""Health: the state of every worker, and what doctor finds."""

import html


async def test_a_proxy_that_works_says_so_and_shows_its_workers_and_store(browsing):
    _, browser = await browsing()
    text = await browser.page("health")

    assert "Everything works" in text
    assert "memory, shared by 1 process" in text
    assert "records 0, log lines 0" in text.replace("\n", "")


async def test_what_does_not_work_is_named(browsing):
    _, browser = await browsing(providers={})
    text = await browser.page("health")

    assert "Nothing can be served" in text
    assert "no provider has a credential" in text


async def test_doctors_findings_are_a_fragment_and_a_page_of_their_own(browsing):
    _, browser = await browsing(providers={}, server={"workers": 2})
    assert 'hx-get="/admin/ui/health/checks"' in await browser.page("health")
    page = html.unescape(await browser.page("health/checks"))
    fragment = await browser.get("/admin/ui/health/checks", **{"hx-request": "true"})

    assert "no provider has a key or login that works" in page
    assert "proxy-core init sets one up" in page
    assert "2 workers with state.url = memory" in page
    assert "<html" in page
    assert "<html" not in fragment.text
    assert "problem" in fragment.text
