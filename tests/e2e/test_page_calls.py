"""Pages call their own proxy, as the operator and as a client, and sign what they give to a browser."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy_core import AdminPage, InternalError, PageResponse, PluginInfo
from proxy_core.server.page_calls import PageCalls
from proxy_core.testing import chunk, plugin_with, stall
from proxy_core.testing.program import serving
from proxy_core.testing.proxy import CLIENT_KEY

ADMIN = "the-admin-key"
HI = [{"role": "user", "content": "hi"}]


async def passing_on(request):
    """Makes the call that the body describes and passes the response on, also while it arrives."""
    asked = json.loads(request.body)
    found = await request.call(asked["method"], asked["path"], asked.get("body"))
    headers = {"x-inner-id": found.headers["x-request-id"]}
    content_type = found.content_type or "none"
    return PageResponse(status=found.status, content_type=content_type, body=found.body, headers=headers)


async def forgetful(request):
    """Starts a stream and does not read it."""
    found = await request.call("POST", "/v1/chat/completions", {"model": "demo/small", "stream": True, "messages": HI})
    assert not isinstance(found.body, bytes)
    return PageResponse(content_type="text/plain", body=b"never mind")


async def signing(request):
    return PageResponse(content_type="text/plain", body=request.sign(request.body).hex().encode())


PAGES = [
    AdminPage(path="/admin/pass", respond=passing_on, methods=["POST"]),
    AdminPage(path="/admin/forgetful", respond=forgetful),
    AdminPage(path="/admin/sign", respond=signing, methods=["POST"]),
]


@pytest.fixture
def calling(make_proxy, upstream):
    """A proxy with these pages; ``ask`` posts to one, ``call`` through the page that passes on."""

    async def make(*modules, **tables):
        demo = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}
        settings = {"admin": {"key": ADMIN}, "providers": demo, **tables}
        proxy = await make_proxy(settings, modules=modules or [plugin_with(proxy_admin_pages=PAGES)])
        return proxy, Caller(proxy)

    return make


class Caller:
    def __init__(self, proxy):
        self.proxy, self.root = proxy, proxy.url.removesuffix("/v1")

    async def ask(self, path, content=b"", method="POST", key=ADMIN):
        headers = {"authorization": f"Bearer {key}"}
        return await self.proxy.client.request(method, self.root + path, content=content, headers=headers)

    async def call(self, method, path, body=None):
        return await self.ask("/admin/pass", described(method, path, body))

    @asynccontextmanager
    async def streaming(self, method, path, body=None):
        headers, content = {"authorization": f"Bearer {ADMIN}"}, described(method, path, body)
        url = f"{self.root}/admin/pass"
        async with self.proxy.client.stream("POST", url, content=content, headers=headers, timeout=20) as response:
            yield response


def described(method, path, body=None):
    return json.dumps({"method": method, "path": path, "body": body}).encode()


def chat(**fields):
    return {"model": "demo/small", "messages": HI, **fields}


async def recent(proxy, count):
    """The newest requests on record, once there are so many."""
    async with asyncio.timeout(10):
        while len(found := proxy.proxy.status.read().recent) < count:
            await asyncio.sleep(0.005)
    return found


async def test_a_page_calls_the_operators_operations_without_a_key(calling):
    _, page = await calling()

    status = await page.call("GET", "/admin/status?credentials=0")
    assert status.json()["processes"][0]["providers"][0]["credentials"] == []
    assert (await page.call("GET", "/admin/why?model=demo%2Fsmall")).json()["processes"][0]["deployments"]
    cleared = await page.call("POST", "/admin/cooldowns/clear", {"provider": "demo"})
    assert cleared.json()["processes"][0]["cleared"] == 0
    assert (await page.call("POST", "/admin/reload")).json()["processes"][0]["problems"] == []


async def test_an_error_is_a_response_in_the_proxys_words(calling):
    _, page = await calling()

    nowhere, unknown = await page.call("GET", "/admin/nowhere"), await page.call("GET", "/admin/explain/some%20id")
    assert (nowhere.status_code, nowhere.json()["error"]["message"]) == (404, "There is no '/admin/nowhere' here.")
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (404, "No request 'some id' is in the history.")
    assert (await page.call("DELETE", "/admin/status")).status_code == 405
    wrong = await page.call("POST", "/v1/chat/completions", {"messages": []})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "model")


async def test_to_clients_addresses_a_page_is_the_client_named_like_its_plugin(calling, upstream):
    upstream.for_key("key-a").responds()
    proxy, page = await calling(
        clients={"laptop": {"key": CLIENT_KEY}, "tested": {"key": "own", "models": ["demo/s*"]}}
    )

    answer = await page.call("POST", "/v1/chat/completions", chat())
    refused = await page.call("POST", "/v1/chat/completions", chat(model="demo/large"))
    (last, first) = await recent(proxy, 2)

    assert answer.json()["choices"][0]["message"]["content"]
    assert (first.id, first.client, first.status) == (answer.headers["x-inner-id"], "tested", 200)
    assert (last.client, last.status, refused.status_code) == ("tested", 403, 403)
    assert (await page.call("GET", "/v1/models")).status_code == 200


async def test_a_streamed_completion_flows_through_the_page(calling, upstream):
    upstream.for_key("key-a").streams("hel", "lo", usage={"prompt_tokens": 3, "completion_tokens": 2})
    proxy, page = await calling()

    async with page.streaming("POST", "/v1/chat/completions", chat(stream=True)) as response:
        pieces = [piece async for piece in response.aiter_bytes()]
    (record,) = await recent(proxy, 1)

    text = b"".join(pieces)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text.index(b'"hel"') < text.index(b'"lo"') < text.index(b"[DONE]")
    assert (record.outcome, record.usage.completion) == ("completed", 2)


async def test_when_the_visitor_leaves_the_completion_ends(calling, upstream):
    upstream.for_key("key-a").says(chunk({"role": "assistant", "content": "hel"}), stall())
    proxy, page = await calling()

    async with page.streaming("POST", "/v1/chat/completions", chat(stream=True)) as response, asyncio.timeout(10):
        async for piece in response.aiter_bytes():
            if b"hel" in piece:
                break
    async with asyncio.timeout(10):
        await upstream.last.left.wait()
    (record,) = await recent(proxy, 1)

    assert (record.client, record.outcome) == ("tested", "client_left")
    assert proxy.proxy.status.read().requests_in_flight == 0


async def test_a_stream_that_a_page_forgets_ends_with_the_page(calling, upstream):
    upstream.for_key("key-a").says(*[chunk({"content": "hel"})] * 50, stall())
    proxy, page = await calling()

    assert (await page.ask("/admin/forgetful", method="GET")).text == "never mind"
    (record,) = await recent(proxy, 1)

    assert record.outcome == "client_left"
    assert proxy.proxy.status.read().requests_in_flight == 0


async def test_a_stream_that_breaks_off_ends_the_pages_own_early(calling, upstream):
    """A feed of another page that fails half-way."""

    class Failing:
        async def __aiter__(self):
            yield b"data: 1\n\n"
            raise RuntimeError("broken")

        async def aclose(self):
            pass

    async def failing(request):
        return PageResponse(content_type="text/event-stream", body=Failing())

    pages = [*PAGES, AdminPage(path="/admin/failing", respond=failing)]
    _, page = await calling(plugin_with(proxy_admin_pages=pages))

    with pytest.raises(httpx.RemoteProtocolError):
        async with page.streaming("GET", "/admin/failing") as response:
            assert [piece async for piece in response.aiter_bytes()] != []


async def test_a_bug_behind_a_call_is_in_the_log_and_an_error_for_the_page(caplog):
    async def broken(scope, receive, send):
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR), pytest.raises(InternalError):
        async with PageCalls({"type": "http", "app": broken}, "tested") as calls:
            await calls.call("GET", "/admin/status")

    assert "a page's call of /admin/status failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_call_ends_for_whoever_reads_it_when_its_page_has_been_answered():
    async def half(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        half_way.set()
        await receive()

    half_way = asyncio.Event()
    async with asyncio.timeout(10):
        async with PageCalls({"type": "http", "app": half}, "tested") as calls:
            reader = asyncio.create_task(calls.call("GET", "/admin/status"))
            await half_way.wait()
        with pytest.raises(OSError, match="broke off"):
            await reader
        with pytest.raises(RuntimeError, match="has been answered"):
            await calls.call("GET", "/admin/status")


async def test_nobody_outside_can_pass_for_a_page(calling):
    proxy, _ = await calling()
    for headers in ({"proxy_core.caller": "admin"}, {"x-proxy-core-caller": "admin"}):
        for path in ("/admin/status", "/v1/models"):
            url = f"{proxy.url.removesuffix('/v1')}{path}?proxy_core.caller=admin"
            assert (await proxy.client.get(url, headers=headers)).status_code == 401


async def test_a_signature_depends_on_the_admin_key_the_plugin_and_the_text(calling):
    other = AdminPage(path="/admin/other", respond=signing, methods=["POST"])
    second = plugin_with(proxy_admin_pages=[other])
    second.PLUGIN = PluginInfo(name="other", api=1)
    both = [plugin_with(proxy_admin_pages=PAGES), second]
    proxy, page = await calling(*both)
    _, elsewhere = await calling(*both)

    first = (await page.ask("/admin/sign", b"text")).text
    assert len(bytes.fromhex(first)) == 32
    assert (await elsewhere.ask("/admin/sign", b"text")).text == first
    assert (await page.ask("/admin/sign", b"texts")).text != first
    assert (await page.ask("/admin/other", b"text")).text != first
    assert (await proxy.reload(admin={"key": "another-admin-key"})).reloaded
    assert (await page.ask("/admin/sign", b"text", key="another-admin-key")).text != first


CALLER = """
import json

from proxy_core import AdminPage, InternalError, PageResponse, PluginInfo, hookimpl

PLUGIN = PluginInfo(name="caller", api=1)


async def respond(request):
    found = await request.call("POST", "/admin/cooldowns/clear")
    told = {"by": request.status().process, "of": json.loads(found.body)["processes"], "sign": request.sign(b"a").hex()}
    return PageResponse(content_type="application/json", body=json.dumps(told).encode())


@hookimpl
def proxy_admin_pages(ctx):
    return [AdminPage(path="/admin/caller", respond=respond)]
"""


@pytest.mark.slow
async def test_a_call_reaches_every_worker_and_all_sign_alike(home, upstream):
    (home / "caller.py").write_text(CALLER)
    about = home / "caller-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: caller\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[proxy_core.plugins]\ncaller = caller\n")
    variables = {"DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "key-a", "PROXY_ADMIN__KEY": ADMIN}
    headers = {"authorization": f"Bearer {ADMIN}", "connection": "close"}
    told = []
    async with (
        serving(home, "--workers", "2", PYTHONPATH=str(home), **variables) as program,
        httpx.AsyncClient(timeout=20) as client,
        asyncio.timeout(60),
    ):
        while len({one["by"] for one in told}) < 2:
            answer = await client.get(f"{program.url}/admin/caller", headers=headers)
            assert answer.status_code == 200, answer.text
            if len(answer.json()["of"]) == 2:  # both have started
                told.append(answer.json())

    assert len({one["sign"] for one in told}) == 1
