"""Requests, usage and models: what a proxy served, over sockets, and hostile names in it."""

import asyncio
import csv
import html
import io
import json
import re
from datetime import UTC, datetime

import pytest

from proxy_core import MemoryState, StateStore
from proxy_core.testing import chunk, fingerprint, plugin_with, stall
from proxy_core.testing.proxy import CLIENT_KEY
from proxy_plugin_dashboard.words import seconds

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000}
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202e\u0000' + "x" * 10_000
PRICED = {"small": {"input_price": 1, "output_price": 2, "context_length": 4096}}


@pytest.fixture
def served(browsing, upstream):
    """A proxy with two clients; the first request of ``laptop`` is answered after a 429 of its first account."""

    async def make(**tables):
        demo = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"], "models": PRICED}
        clients = {"laptop": {"key": CLIENT_KEY}, "phone": {"key": "key-of-the-phone"}}
        proxy, browser = await browsing(**{"providers": {"demo": demo}, "clients": clients, **tables})
        words = {"error": {"message": "slow <b>down</b>"}}
        upstream.for_key("key-a").responds(429, headers={"retry-after": "60"}, json_body=words)
        upstream.for_key("key-b").streams("hel", "lo", usage=USAGE)
        assert (await proxy.chat("demo/small", "hi", stream=True)).text == "hello"
        await history(proxy, 1)
        return proxy, browser

    return make


async def history(proxy, count):
    async with asyncio.timeout(10):
        while len(found := proxy.proxy.status.read().recent) < count:
            await asyncio.sleep(0.005)
    return found


def words(page):
    """The text of a page without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


# --- Requests ----------------------------------------------------------------------------


async def test_a_request_is_in_the_list_with_everything_about_it(served):
    _, browser = await served()
    text = words(await browser.page("requests"))

    for word in ("laptop", "demo/small", "1M, 500k", "$2.00", "answered", " 2 "):
        assert word in text, word


async def test_one_click_explains_a_request(served):
    proxy, browser = await served()
    (record,) = await history(proxy, 1)
    detail = await browser.get(f"/admin/ui/requests/detail/{record.id}", **{"hx-request": "true"})
    whole = words(await browser.page(f"requests?id={record.id}"))

    for text in (words(detail.text), whole):
        assert "Attempt 1: demo/small with" in text
        assert "answered 429 after" in text
        assert fingerprint("key-b") in text
        assert "was tried already" in text or "cools down" in text
        assert "$2.00" in text
        assert "1,000,000 in" in text
    assert "<html" not in detail.text
    assert "slow <b>" not in detail.text


async def test_a_request_that_is_gone_is_said_so(served):
    _, browser = await served()

    for path in ("requests/detail/no%2Fsuch%20id", "requests?id=%3Cscript%3E"):
        page = await browser.get(f"/admin/ui/{path}")
        assert page.status_code == 200
        assert "no longer in the history" in page.text
        assert "<script>" not in page.text


async def test_a_search_narrows_the_list_and_says_when_nothing_is_found(served):
    proxy, browser = await served()
    body = {"model": "demo/large", "messages": [{"role": "user", "content": "hi"}]}
    await proxy.post("/chat/completions", body, key="key-of-the-phone")
    await history(proxy, 2)

    def clients(page):
        return set(re.findall(r'<a class="plain-link" href="\?client=\w+">(\w+)</a>', page))

    assert clients(await browser.page("requests")) == {"laptop", "phone"}
    assert clients(await browser.page("requests?client=phone")) == {"phone"}
    assert clients(await browser.page("requests?q=large")) == {"phone"}
    assert clients(await browser.page(f"requests?credential={fingerprint('key-b')}&model=demo/small")) == {"laptop"}
    nothing = await browser.page("requests?q=nothing+of+the+kind")
    assert "None of the 2 requests in the history matches" in words(nothing)


async def test_the_list_goes_on(served):
    proxy, browser = await served()
    await asyncio.gather(*(proxy.chat("demo/small", "hi") for _ in range(60)))
    await history(proxy, 61)
    first = await browser.page("requests")
    older = html.unescape(re.search(r'rel="next" href="\?([^"]+)"', first)[1])
    second = await browser.page(f"requests?{older}")
    pages = [re.findall(r'<tr id="request-(\w+)"', page) for page in (first, second)]

    assert [len(ids) for ids in pages] == [50, 11]
    assert len({*pages[0], *pages[1]}) == 61


async def test_the_live_tail_shows_a_new_request_at_once_and_only_if_it_matches(served):
    proxy, browser = await served()
    async with browser.feed("requests", "client=phone") as narrow, browser.feed("requests") as following:
        assert "Nothing found" in (await narrow())[1]
        assert (await following())[1].count("<tr id=") == 1
        await proxy.chat("demo/small", "hi")
        async with asyncio.timeout(10):
            while (await following())[1].count("<tr id=") < 2:
                pass
        body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
        await proxy.post("/chat/completions", body, key="key-of-the-phone")
        async with asyncio.timeout(10):
            while (await narrow())[1].count("<tr id=") < 1:
                pass


async def test_without_a_request_the_page_says_how_to_send_one(browsing):
    _, browser = await browsing()

    assert "No request yet" in (text := words(await browser.page("requests")))
    assert "curl http://127.0.0.1:" in text


# --- Usage -------------------------------------------------------------------------------


async def counted(browser, query, word):
    """The page once the store has what was just used."""
    async with asyncio.timeout(15):
        while word not in (text := words(await browser.page(f"usage?{query}"))):
            await asyncio.sleep(0.05)
    return text


async def test_what_today_cost_is_on_top(served):
    _, browser = await served()
    text = await counted(browser, "", "$2.00 today")

    assert text.index("$2.00 today") < text.index("By model")
    assert "1 request today 1.5M tokens" in text


async def test_a_cost_that_nobody_knows_is_not_called_nothing(browsing, upstream):
    upstream.for_key("key-a").streams("hello", usage=USAGE)
    upstream.for_key("key-a").responds(400)
    proxy, browser = await browsing()
    await proxy.chat("demo/small", "hi", stream=True)
    await proxy.chat("demo/small", "hi")
    await proxy.chat("nowhere/x", "hi")
    text = await counted(browser, "", "3 requests today")

    assert text.count("the price of 1 answer is not known") == 2
    assert "not known today" in text
    assert "not known 7 days" in text
    assert "$0.00 yesterday" in text
    assert "the price of 1 answer is not known" in words(await browser.page("accounts"))


async def test_the_chart_says_which_colour_is_what(served):
    _, browser = await served()
    await counted(browser, "", "$2.00")

    assert words(await browser.page("usage")).count("Attempts all failed") == 1


async def test_a_duration_is_never_longer_than_the_slowest(served):
    proxy, browser = await served()
    [record] = await history(proxy, 1)
    await counted(browser, "", "$2.00")
    page = await browser.page("usage")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "small" in row and "$2.00" in row)

    shown = [*words(row).split()[-4:], *seconds(record.duration_s).split()]
    middle, most, slowest = (
        float(number) * {"ms": 1, "s": 1000}[unit] for number, unit in zip(shown[::2], shown[1::2], strict=True)
    )
    assert 0.85 * slowest - 1 <= middle <= most <= slowest


async def test_requests_are_found_by_the_label_of_their_account(browsing, upstream):
    keys = [{"key": "key-a", "label": "Work Laptop"}, {"key": "key-b", "label": "home"}]
    upstream.for_key("key-a").responds(429)
    proxy, browser = await browsing(providers={"demo": {"base_url": upstream.url, "api_keys": keys}})
    upstream.for_key("key-b").streams("hello")
    await proxy.chat("demo/small", "hi")

    assert "1 of 1 request in the history matches" in words(await browser.page("requests?q=HOME+small"))
    assert "None of the 1 request in" in words(await browser.page("requests?q=nobody"))


@pytest.mark.parametrize(
    ("by", "name"),
    [
        ("model", "small"),
        ("provider", "demo"),
        ("client", "laptop"),
        ("day", datetime.now(UTC).date().isoformat()[:8]),
        ("credential", fingerprint("key-b")),
    ],
)
async def test_usage_by(served, by, name):
    _, browser = await served()
    await counted(browser, "", "$2.00")
    page = await browser.page(f"usage?by={by}")
    row = next(row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if name in row and "$2.00" in row)

    assert "1M" in row
    assert " ms" in row or " s<" in row  # how long it took


async def test_the_charts_can_be_read_without_seeing_them(served):
    _, browser = await served()
    await counted(browser, "range=30d", "$2.00")
    page = await browser.page("usage?range=30d")

    assert len(re.findall(r'<svg viewBox="[\d ]+" role="img" aria-label="[^"]+; most on ', page)) == 4
    assert page.count("<title>") == 4 * 30 + 1
    assert "The charts as a table" in page
    assert 'style="' not in page


async def test_a_csv_file_that_a_spreadsheet_cannot_run(served, upstream):
    demo = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"], "models": PRICED}
    clients = {"=cmd|' /C calc'!A0": {"key": CLIENT_KEY}}
    proxy, browser = await served(providers={"demo": demo}, clients=clients)
    await counted(browser, "", "$2.00")
    response = await browser.get("/admin/ui/usage/csv?range=30d")
    rows = list(csv.DictReader(io.StringIO(response.text)))

    assert response.headers["content-disposition"].startswith('attachment; filename="usage-')
    assert response.headers["content-type"].startswith("text/csv")
    assert {row["client"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    assert sum(float(row["cost"]) for row in rows) == pytest.approx(2.0)
    assert proxy.key not in response.text


async def test_without_usage_the_page_says_what_to_do(browsing):
    _, browser = await browsing()

    assert "No usage yet" in (text := words(await browser.page("usage?range=nonsense&by=nonsense")))
    assert "$0.00 today" in text


# --- Models ------------------------------------------------------------------------------


LISTED = {"object": "list", "data": [{"id": "small", "object": "model"}, {"id": "<b>odd</b>", "object": "model"}]}


async def test_models_with_their_limits_and_prices(browsing, upstream):
    demo = {"base_url": upstream.url, "api_keys": ["key-a"], "models": PRICED}
    upstream.for_path("/models").responds(json_body=LISTED)
    _, browser = await browsing(providers={"demo": demo})
    page = await browser.page("models")
    row = words(re.search(r"<tr><th scope=\"row\">demo/small.*?</tr>", page, re.DOTALL)[0])

    assert "4,096" in row
    assert "$1.00 $2.00" in row
    assert "<b>odd" not in page
    assert "demo/small" not in (await browser.page("models?q=odd")).partition('role="search"')[2]


async def test_providers_that_give_no_list_and_those_without_an_account_are_named(browsing, upstream):
    upstream.for_path("/models").responds(403, json_body={"error": {"message": "no <i>list</i> for you"}})
    _, browser = await browsing()
    text = words(await browser.page("models"))

    assert "demo did not give its list of models" in text
    assert "No model yet" in text


async def test_a_name_that_is_no_text_breaks_no_page(browsing, upstream):
    odd = b'{"data": [{"id": "odd\\ud800", "owned_by": "\\udfff"}, {"id": "fine"}, {"id": "nul\\u0000"}]}'
    upstream.for_path("/models").responds(body=odd)
    _, browser = await browsing()
    text = words(await browser.page("models"))

    assert "demo/fine" in text
    assert "odd" not in text


async def tried(browser, **form):
    response = await browser.post("/admin/ui/models/try", form)
    return response, [
        (name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", response.text)
    ]


async def test_a_model_is_tried_with_streaming(served):
    proxy, browser = await served()
    await browser.page("models")
    response, events = await tried(browser, model="demo/small", prompt="hi")
    *parts, (name, end) = events
    (record, _) = await history(proxy, 2)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert parts == [("text", "hel"), ("text", "lo")]
    assert name == "done"
    assert (end["id"], end["prompt"], end["finish"]) == (record.id, 1_000_000, "stop")
    assert end["served_by"] == "demo/small"
    assert record.client == "dashboard"


async def test_what_goes_wrong_with_a_try_is_said_in_words(served, upstream):
    _, browser = await served()
    await browser.page("models")
    _, unknown = await tried(browser, model="nowhere/x", prompt="hi")
    upstream.for_key("key-b").says(chunk({"content": "hel"}), b'data: {"error": {"message": "it broke"}}\n\n')
    await tried(browser, model="demo/small", prompt="hi")  # the script before
    _, broken = await tried(browser, model="demo/small", prompt="hi")

    assert unknown[0][0] == "problem"
    assert "nowhere" in unknown[0][1]
    assert [name for name, _ in broken] == ["text", "problem", "done"]


@pytest.mark.parametrize("form", [{}, {"model": "demo/small"}, {"model": "demo/small", "prompt": "x" * 200_001}])
async def test_a_try_without_a_question_asks_nobody(served, form):
    proxy, browser = await served()
    await browser.page("models")
    response, events = await tried(browser, **form)

    assert (response.status_code, events) == (400, [])
    assert len(proxy.proxy.status.read().recent) == 1


async def test_a_try_needs_the_token_of_the_page(served):
    proxy, browser = await served()
    browser.csrf = "0" * 64
    response, _ = await tried(browser, model="demo/small", prompt="hi")

    assert response.status_code == 403
    assert len(proxy.proxy.status.read().recent) == 1


async def test_stopping_a_try_stops_the_upstream(served, upstream):
    proxy, browser = await served()
    await browser.page("models")
    upstream.for_key("key-b").says(chunk({"content": "hel"}), stall())
    await tried(browser, model="demo/small", prompt="hi")  # the script before
    headers = {"x-csrf-token": browser.csrf, "origin": browser.root}
    form = {"model": "demo/small", "prompt": "hi"}
    url = f"{browser.root}/admin/ui/models/try"
    async with browser.client.stream("POST", url, data=form, headers=headers) as response, asyncio.timeout(10):
        async for piece in response.aiter_text():
            if "hel" in piece:
                break
    record = (await history(proxy, 3))[0]

    assert record.outcome == "client_left"


# --- Hostile names -----------------------------------------------------------------------


async def test_hostile_names_and_messages_are_only_text(browsing, upstream):
    clients = {"<script>alert(0)</script>": {"key": CLIENT_KEY}}
    models = {"object": "list", "data": [{"id": HOSTILE[:400], "object": "model", "owned_by": HOSTILE[:400]}]}
    upstream.for_path("/models").responds(json_body=models)
    upstream.for_key("key-a").responds(500, json_body={"error": {"message": HOSTILE, "code": HOSTILE[:40]}})
    upstream.for_key("key-b").responds(400, json_body={"error": {"message": HOSTILE, "type": HOSTILE}})
    proxy, browser = await browsing(clients=clients)
    for model in ('demo/<script>alert(4)</script>"><img src=x>\u202e', "demo/small"):
        await proxy.chat(model, "hi")
    found = await history(proxy, 2)
    pages = [
        await browser.page(name) for name in ("requests", "usage?by=model", "usage?by=client", "models", "plugins")
    ]
    pages += [await browser.page(f"requests?id={record.id}") for record in found]
    pages += [await browser.page("requests?q=" + "%3Cscript%3Ealert(3)%3C/script%3E")]

    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "x" * 1000 not in page
        assert len(re.findall(r"<script(?![^>]*\ssrc=)", page)) == 0


# --- A store that does not answer --------------------------------------------------------


class Silent(MemoryState):
    """A store from which usage cannot be read for a while."""

    raises = True

    async def usage(self, since, until):
        if self.raises:
            raise ConnectionError("nobody is there")
        return await super().usage(since, until)


async def test_usage_that_cannot_be_read_is_no_usage_of_zero_and_one_line_in_the_log(browsing, caplog):
    store = Silent()

    async def open_it(url):
        return store

    plugin = plugin_with(proxy_state_stores=[StateStore(scheme="silent", open=open_it)])
    _, browser = await browsing(modules=[plugin], state={"url": "silent:", "secret": "s"})
    page = words(await browser.page("usage"))
    await browser.page("accounts")
    await browser.page("usage")
    async with browser.feed("usage") as following:
        first = dict([await following(), await following()])

    assert "The usage cannot be read" in page
    assert "$0.00" not in page
    assert "requests today" not in page
    assert "No usage yet" not in page
    assert "cannot be read" in first["today"]
    assert "0" not in words(first["figures"])
    assert caplog.text.count("usage cannot be read from the state store") == 1

    store.raises = False
    assert "$0.00" in await browser.page("usage")
    store.raises = True
    await browser.page("usage")
    assert caplog.text.count("usage cannot be read from the state store") == 2
