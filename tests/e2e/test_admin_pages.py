"""Pages that a plugin adds: the core checks the key, keeps a failing page to itself and ends live feeds."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr

from proxy_core import AdminPage, BadRequest, PageRequest, PageResponse, PluginError
from proxy_core.dialects import openai_chat
from proxy_core.plugins.faults import Faults
from proxy_core.plugins.registry import check_page_paths, overlap
from proxy_core.server.auth import ClientKeys
from proxy_core.server.interrupt import Interruptible
from proxy_core.server.pages import PageEndpoint, PageServices
from proxy_core.server.status_endpoint import Statuses
from proxy_core.server.wording import Wording
from proxy_core.testing import plugin_with

ADMIN = "the-admin-key"


class Feed:
    """A stream of ticks that never ends by itself; it remembers whether it was closed."""

    def __init__(self, fails_after=None):
        self.fails_after = fails_after
        self.closed = asyncio.Event()

    async def __aiter__(self):
        ticks = 0
        while True:
            yield f"data: {ticks}\n\n".encode()
            ticks += 1
            if ticks == self.fails_after:
                raise RuntimeError("broken")
            await asyncio.sleep(0.01)

    async def aclose(self):
        self.closed.set()


async def echo(request: PageRequest) -> PageResponse:
    told = {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": dict(request.headers),
        "body": request.body.decode(),
        "admin": request.admin,
        "process": request.status().process,
        "workers": [status.worker for status in await request.statuses(credentials=False)],
    }
    return PageResponse(content_type="application/json", body=json.dumps(told).encode(), headers={"X-Own": "yes"})


async def refusing(request: PageRequest) -> PageResponse:
    raise BadRequest("There is no such day.", param="day")


async def broken(request: PageRequest) -> PageResponse:
    raise RuntimeError("with details that nobody else should see")


async def slow(request: PageRequest) -> PageResponse:
    await asyncio.sleep(60)
    raise AssertionError


async def nonsense(request: PageRequest) -> PageResponse:
    return PageResponse(content_type="text/plain\r\nset-cookie: a=b", body=b"")


@pytest.fixture
def pages(make_proxy):
    """A proxy with these pages; ``ask(path)`` below its root."""

    async def make(*pages, **tables):
        module = plugin_with(proxy_admin_pages=pages)
        proxy = await make_proxy({"admin": {"key": ADMIN}, **tables}, modules=[module])
        root = proxy.url.removesuffix("/v1")

        async def ask(path, method="GET", key=ADMIN, **more):
            headers = {**({"authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
            return await proxy.client.request(method, root + path, headers=headers, **more)

        return proxy, ask

    return make


@asynccontextmanager
async def following(proxy, path):
    """A client of a live feed that has seen its first tick."""
    url, headers = proxy.url.removesuffix("/v1") + path, {"authorization": f"Bearer {ADMIN}"}
    async with proxy.client.stream("GET", url, headers=headers, timeout=10) as response:
        pieces = response.aiter_bytes()
        assert (await anext(pieces)).startswith(b"data: 0")
        yield pieces


async def test_a_page_sees_the_request_without_its_keys_and_the_status_of_the_proxy(pages):
    _, ask = await pages(AdminPage(path="/admin/tool", respond=echo, methods=["GET", "POST"]))
    response = await ask("/admin/tool?day=today&key=the-admin-key&empty=", "POST", content=b"hello")
    told = response.json()

    assert (response.status_code, response.headers["x-own"]) == (200, "yes")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"]
    assert (told["method"], told["path"], told["body"]) == ("POST", "/admin/tool", "hello")
    assert told["query"] == {"day": "today", "empty": ""}
    assert (told["admin"], told["workers"]) == (True, [1])
    assert ADMIN not in response.text
    assert "authorization" not in told["headers"]


async def test_a_page_requires_the_admin_key_unless_it_is_public(pages):
    closed, public = (
        AdminPage(path="/admin/closed", respond=echo),
        AdminPage(path="/metrics", respond=echo, public=True),
    )
    proxy, ask = await pages(closed, public, plugins={"disabled": ["prometheus"]})

    assert (await ask("/admin/closed", key=None)).status_code == 401
    assert (await ask("/admin/closed", key=proxy.key)).status_code == 401
    assert (await ask("/admin/closed")).status_code == 200
    assert (await ask("/metrics", key=None)).json()["admin"] is False
    assert (await ask("/metrics")).json()["admin"] is True


@pytest.mark.parametrize("path", ["/admin/tool", "/admin/status", "/admin/requests", "/admin/usage", "/admin/models"])
async def test_the_admin_key_counts_in_a_header_and_not_in_an_address(pages, path):
    _, ask = await pages(AdminPage(path="/admin/tool", respond=echo))

    assert (await ask(f"{path}?key={ADMIN}", key=None)).status_code == 401
    assert (await ask(path, key=None, headers={"x-goog-api-key": ADMIN})).status_code == 200
    assert (await ask(path)).status_code == 200


async def test_a_wildcard_gets_what_is_below_it_and_an_exact_path_wins(pages):
    below = AdminPage(path="/admin/tool/*", respond=echo)
    _, ask = await pages(below, AdminPage(path="/admin/tool/exact", respond=refusing))

    assert (await ask("/admin/tool/a/b%20c")).json()["path"] == "/admin/tool/a/b c"
    assert (await ask("/admin/tool/exact")).status_code == 400
    assert (await ask("/admin/tool")).status_code == 404
    assert (await ask("/admin/tool/a", "DELETE")).status_code == 405


async def test_an_error_of_the_proxys_own_kind_keeps_its_message(pages):
    _, ask = await pages(AdminPage(path="/admin/tool", respond=refusing))
    response = await ask("/admin/tool")

    assert response.status_code == 400
    assert response.json()["error"]["message"] == "There is no such day."
    assert response.json()["error"]["param"] == "day"


@pytest.mark.parametrize(
    "respond, what",
    [(broken, "raised RuntimeError"), (nonsense, "returned a PageResponse whose header 'content-type' cannot be sent")],
    ids=["raises", "forges a header"],
)
async def test_a_page_that_fails_is_a_clean_500_and_one_line_that_names_its_plugin(pages, respond, what, caplog):
    _, ask = await pages(AdminPage(path="/admin/tool", respond=respond))
    with caplog.at_level(logging.ERROR):
        response = await ask("/admin/tool")
    (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "plugin_failed"
    assert "page '/admin/tool' of plugin 'tested'" in response.json()["error"]["message"]
    assert "details" not in response.text.replace("the log has details", "")
    assert line.getMessage().startswith(f"the page '/admin/tool' of plugin 'tested' {what}")
    assert __file__ in line.getMessage()
    assert bool(line.exc_info) == what.startswith("raised")
    assert (await ask("/healthz", key=None)).status_code == 200


async def test_a_page_that_takes_too_long_is_abandoned(pages, tmp_path, caplog):
    proxy, _ = await pages()
    keys = ClientKeys({"admin": SecretStr(ADMIN)})
    statuses = Statuses(view=proxy.proxy.status, keys=keys, admin_key=ADMIN, runtime_dir=tmp_path)
    page = AdminPage(path="/admin/slow", respond=slow)
    wording = Wording(openai_chat.DIALECT, (), keys.places)
    services = PageServices(
        keys=keys,
        statuses=statuses,
        settings=proxy.proxy.loaded,
        wording=wording,
        faults=Faults(),
        answer_s=0.05,
    )
    endpoint = PageEndpoint(page, "tested", services)
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(endpoint), base_url="http://proxy") as client:
        response = await client.get("/admin/slow", headers=headers)

    assert response.status_code == 500
    assert "the page '/admin/slow' of plugin 'tested' raised TimeoutError" in caplog.text


async def test_a_body_has_a_limit(pages):
    _, ask = await pages(AdminPage(path="/admin/tool", respond=echo, methods=["POST"]))

    assert (await ask("/admin/tool", "POST", content=b"x" * 1024 * 1024)).status_code == 200
    assert (await ask("/admin/tool", "POST", content=b"x" * (1024 * 1024 + 1))).status_code == 413


async def test_a_live_feed_flows_and_is_closed_when_its_client_leaves(pages):
    feed = Feed()

    async def live(request):
        return PageResponse(content_type="text/event-stream", body=feed)

    proxy, ask = await pages(AdminPage(path="/admin/live", respond=live))
    async with following(proxy, "/admin/live") as pieces:
        assert b"data: 1" in await anext(pieces)
        assert len(proxy.proxy.feeds) == 1
    async with asyncio.timeout(5):
        await feed.closed.wait()
        assert (await ask("/admin/live", "HEAD")).status_code == 200

    assert len(proxy.proxy.feeds) == 0


async def test_a_live_feed_ends_at_once_when_settings_are_replaced(pages):
    feed = Feed()

    async def live(request):
        return PageResponse(content_type="text/event-stream", body=feed)

    proxy, ask = await pages(AdminPage(path="/admin/live", respond=live))
    async with following(proxy, "/admin/live") as pieces, asyncio.timeout(5):
        assert await anext(pieces) != b""
        assert (await proxy.reload(log={"level": "debug"})).reloaded
        async for piece in pieces:  # to its regular end
            assert piece.startswith(b"data: ")
        while len(proxy.active) > 1:
            await asyncio.sleep(0.01)

    assert feed.closed.is_set()
    assert (await ask("/healthz", key=None)).status_code == 200


async def test_a_live_feed_does_not_hold_up_a_stopping_server(pages):
    feed = Feed()

    async def live(request):
        return PageResponse(content_type="text/event-stream", body=feed)

    proxy, _ = await pages(AdminPage(path="/admin/live", respond=live), server={"shutdown_grace_s": 60})
    async with following(proxy, "/admin/live") as pieces, asyncio.timeout(5):
        proxy.stop.set()
        async for _ in pieces:
            pass

    assert feed.closed.is_set()


async def test_live_feeds_have_a_limit(pages):
    feed = Feed()

    async def live(request):
        return PageResponse(content_type="text/event-stream", body=feed)

    proxy, ask = await pages(AdminPage(path="/admin/live", respond=live))
    others = [Interruptible() for _ in range(100)]
    for other in others:
        proxy.proxy.feeds.began(other)
    assert (await ask("/admin/live")).status_code == 503
    assert feed.closed.is_set()
    proxy.proxy.feeds.ended(others[0])
    async with following(proxy, "/admin/live"):
        assert len(proxy.proxy.feeds) == 100


async def test_a_feed_that_fails_is_cut_and_logged(pages, caplog):
    feed = Feed(fails_after=2)

    async def live(request):
        return PageResponse(content_type="text/event-stream", body=feed)

    proxy, ask = await pages(AdminPage(path="/admin/live", respond=live))
    with caplog.at_level(logging.ERROR):
        with pytest.raises(Exception, match=r"peer closed|incomplete"):
            async with following(proxy, "/admin/live") as pieces:
                async for _ in pieces:
                    pass
        await feed.closed.wait()

    assert "the page '/admin/live' of plugin 'tested' raised " in caplog.text
    assert (await ask("/healthz", key=None)).status_code == 200


# --- Paths -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/tool", "/admin", "/admin/", "/admin/a b", "/admin/*/x", "/admin/{x}", "/admin/../v1"]
)
async def test_a_page_has_no_other_place(pages, path):
    proxy, *_ = await pages(AdminPage(path=path, respond=echo))

    tested = skipped(proxy)
    assert tested.reason.startswith(f"page {path!r}: a page's path must be")
    assert path not in [page.path for page in proxy.proxy.catalog.admin_pages]


def skipped(proxy):
    """The plugin that was left out, without which the proxy started."""
    (plugin,) = [p for p in proxy.proxy.catalog.plugins if p.state == "skipped"]
    assert f"plugin {plugin.name} is not used: {plugin.reason}" in proxy.proxy.warnings
    return plugin


@pytest.mark.parametrize("path", ["/admin/why", "/admin/*", "/admin/explain/x", "/admin/status"])
async def test_a_page_is_not_in_the_way_of_the_cores_own(pages, path):
    others = {"disabled": ["dashboard"]}  # which has a page below /admin/*
    proxy, _ = await pages(AdminPage(path=path, respond=echo), plugins=others)

    assert "overlaps with '/admin/" in skipped(proxy).reason
    assert skipped(proxy).reason.endswith(" of the core itself")
    assert (await proxy.get("/models")).status == 200


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("/admin/a", "/admin/a", True),
        ("/admin/a/*", "/admin/a/b", True),
        ("/admin/a/b", "/admin/a/*", True),
        ("/admin/a/b/*", "/admin/a/*", True),
        ("/admin/a/*", "/admin/a", False),
        ("/admin/a/*", "/admin/ab", False),
    ],
)
def test_pages_of_two_plugins_may_not_overlap(one, other, both):
    assert overlap(one, other) is both
    assert overlap(other, one) is both
    if one == other:
        return
    check_page_paths({one: "first", other: "first"})
    if both:
        with pytest.raises(PluginError, match=r"second.*overlaps with page .* of plugin 'first'"):
            check_page_paths({one: "first", other: "second"})
    else:
        check_page_paths({one: "first", other: "second"})


async def test_two_plugins_with_one_page_stop_startup(pages):
    with pytest.raises(PluginError, match="'/metrics' is already provided by"):
        await pages(AdminPage(path="/metrics", respond=echo))
