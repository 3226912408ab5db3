"""Web pages of other origins: closed out, unless settings name their origin."""

import asyncio
import json
import queue
import shutil
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product

import pytest

from proxy_core import Operation
from proxy_core.testing import chunk, composed, pause, plugin_with

PAGE = "https://app.example"
ASKS = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
PATHS = ["/v1/chat/completions", "/v1/models", "/v1beta/models/demo%2Fx:generateContent", "/nowhere", "/"]
CHROMIUM = shutil.which("chromium")


@pytest.fixture
async def open_proxy(make_proxy, upstream):
    async def make(*origins, **options):
        provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
        server = {"cors_origins": list(origins or [PAGE])}
        return await make_proxy({"providers": {"demo": provider}, "server": server}, **options)

    return make


def access(response):
    return {name: value for name, value in response.headers.items() if name.startswith("access-control")}


async def test_a_named_origin_may_ask(open_proxy):
    proxy = await open_proxy()
    for path in PATHS:
        reply = await proxy.client.options(proxy.url.removesuffix("/v1") + path, headers=ASKS)

        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert reply.headers["access-control-allow-headers"] == ASKS["access-control-request-headers"]
        assert "access-control-allow-credentials" not in reply.headers
        assert "origin" in reply.headers["vary"].lower()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_named_origin_may_read_the_answer_and_what_is_about_it(open_proxy, upstream, stream):
    upstream.streams("hel", "lo") if stream else upstream.responds()
    proxy = await open_proxy()
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": stream}

    answer = await proxy.post("/chat/completions", body, headers={"origin": PAGE})

    assert answer.text == "hello"
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert "x-request-id" in exposed
    assert "retry-after" in exposed
    assert "credential" not in exposed


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_named_origin_may_read_errors(open_proxy, upstream, status):
    upstream.responds(status, {"error": {"message": "no"}}, headers={"retry-after": "90"})
    proxy = await open_proxy()
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}

    failed = await proxy.post("/chat/completions", body, headers={"origin": PAGE})
    stranger = await proxy.post("/chat/completions", body, headers={"origin": PAGE}, key="wrong")
    lost = await proxy.post("/nowhere", body, headers={"origin": PAGE})

    assert stranger.status == 401, "an origin is no key"
    assert lost.status == 404
    for answer in (failed, stranger, lost):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.error["message"]


async def test_a_bug_can_be_read_too(open_proxy):
    async def bug(request, services):
        raise RuntimeError("bug")

    proxy = await open_proxy(modules=[plugin_with(proxy_operations=[Operation(paths=["/v1/bug"], answer=bug)])])
    reply = await proxy.client.get(proxy.url + "/bug", headers={"origin": PAGE, "authorization": f"Bearer {proxy.key}"})

    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (500, PAGE)


OTHERS = [
    "https://evil.example",
    "https://app.example.evil.example",
    "https://app.example:8443",
    "http://app.example",
    "https://APP.example.",
    "null",
    "*",
    "",
    f"{PAGE}, https://evil.example",
]


async def test_other_origins_get_nothing(open_proxy):
    proxy = await open_proxy()
    for origin, path, method in product(OTHERS, PATHS, ["OPTIONS", "GET", "POST"]):
        reply = await proxy.client.request(
            method, proxy.url.removesuffix("/v1") + path, headers={**ASKS, "origin": origin}
        )

        assert access(reply) == {}
        assert method != "OPTIONS" or reply.status_code in (404, 405)


async def test_the_operators_addresses_stay_closed_to_pages(open_proxy):
    proxy = await open_proxy()
    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    paths = ["/admin/status", "/admin/why", "/admin/reload", "/admin/nowhere", "/admin"]
    paths += ["//admin/status", "/admin//status", "///admin//reload", "//admin"]
    for path, method in product(paths, ["OPTIONS", "GET", "POST"]):
        headers = {**ASKS, "authorization": f"Bearer {key}"}
        reply = await proxy.client.request(method, proxy.url.removesuffix("/v1") + path, headers=headers)

        assert access(reply) == {}


GIVEN = {
    "https://app.example/": "https://app.example",
    "HTTPS://App.Example": "https://app.example",
    "https://app.example:443": "https://app.example",
    "http://localhost:80": "http://localhost",
    "http://localhost:3000": "http://localhost:3000",
    "http://[::1]:3000": "http://[::1]:3000",
    "chrome-extension://abcdefghijklmnop": "chrome-extension://abcdefghijklmnop",
    "tauri://localhost": "tauri://localhost",
}


@pytest.mark.parametrize(("given", "read"), GIVEN.items())
def test_origins_are_read_as_browsers_send_them(tmp_path, given, read):
    assert composed({"server": {"cors_origins": [given]}}, folder=tmp_path).loaded.settings.server.cors_origins == [
        read
    ]


@pytest.mark.parametrize(
    "given", ["*", "null", "app.example", "https://*.example", "https://a.example/path", "", "//a"]
)
def test_what_is_no_origin_is_refused_by_name(tmp_path, given):
    with pytest.raises(Exception, match=r"server\.cors_origins"):
        composed({"server": {"cors_origins": [given]}}, folder=tmp_path)


# --- A real browser --------------------------------------------------------------------------

SCRIPT = """<!doctype html><script>
const url = %URL%, key = %KEY%;
async function ask(model, stream, path) {
  const headers = {"authorization": "Bearer " + key, "content-type": "application/json", "x-stainless-lang": "js"};
  const body = JSON.stringify({model, stream, messages: [{role: "user", content: "hi"}]});
  try {
    const answer = await fetch(url + (path || "/chat/completions"), {method: "POST", headers, body});
    let pieces = 0, text = "";
    const reader = answer.body.getReader(), decoder = new TextDecoder();
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      pieces += 1;
      text += decoder.decode(value, {stream: true});
    }
    return {status: answer.status, pieces, text, retry: answer.headers.get("retry-after"),
            id: answer.headers.get("x-request-id"), credential: answer.headers.get("x-proxy-credential")};
  } catch (error) { return {blocked: String(error)}; }
}
(async () => {
  const told = {plain: await ask("demo/small", false), stream: await ask("demo/small", true),
                limited: await ask("demo/limited", false), unknown: await ask("nope", false),
                admin: await ask("x", false, "/../admin/reload")};
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
})();
</script>"""


@contextmanager
def web_site(html):
    """A site with one page, on an origin of its own; yields that origin, and what the page's script reports to it."""
    told = queue.Queue()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html().encode())

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}", told
    finally:
        server.shutdown()
        server.server_close()


@asynccontextmanager
async def browser(address, folder):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    silent = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    running = await asyncio.create_subprocess_exec(
        CHROMIUM, *options, f"--user-data-dir={folder}", "--remote-debugging-port=0", address, **silent
    )
    try:
        yield
    finally:
        running.terminate()
        await running.wait()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")
@pytest.mark.parametrize("named", [True, False], ids=["a named origin", "another origin"])
async def test_a_page_in_a_real_browser(open_proxy, upstream, tmp_path, named):
    upstream.responds()
    upstream.says(chunk({"content": "hel"}), pause(0.5), chunk({"content": "lo"}, finish="stop"), b"data: [DONE]\n\n")
    upstream.responds(429, {"error": {"message": "Slow down."}}, headers={"retry-after": "90"})
    running = []

    def html():
        return SCRIPT.replace("%URL%", json.dumps(running[0].url)).replace("%KEY%", json.dumps(running[0].key))

    with web_site(html) as (origin, reported):
        running.append(await open_proxy(origin if named else PAGE))
        async with browser(origin, tmp_path / "browser"):
            told = await asyncio.to_thread(reported.get, timeout=90)

    assert "blocked" in told["admin"]
    if not named:
        assert all("blocked" in answer for answer in told.values())
        assert upstream.requests == [], "not even a request was made: the preflight failed"
        return
    assert json.loads(told["plain"]["text"])["choices"][0]["message"]["content"] == "hello"
    assert told["stream"]["pieces"] >= 2, "it arrives as it is sent"
    assert told["stream"]["text"].endswith("data: [DONE]\n\n")
    assert (told["limited"]["status"], told["limited"]["retry"]) == (429, "90")
    assert "Slow down." in told["limited"]["text"]
    assert told["unknown"]["status"] == 404
    assert all(told[name]["id"] for name in ("plain", "stream", "limited", "unknown"))
    assert told["plain"]["credential"] is None
