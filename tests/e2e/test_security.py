"""The classes of incidents that others had, each tried here. Secrets in what is written: ``test_canary.py``."""

import asyncio
import json
from urllib.parse import quote

import pytest

import proxy_core
from proxy_core.testing import FakeUpstream, chunk, plugin_with, run, serving
from proxy_core.testing.program import SCRIPT

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
DONE = b"data: [DONE]\n\n"
LONG_KEY = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8"


async def raw(proxy, request):
    """The status line and everything behind it, for a request that no client library would send."""
    host, _, port = proxy.url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    reply = await asyncio.wait_for(reader.read(65536), 20)
    writer.close()
    return reply


# --- A caller's address is only text -----------------------------------------------------


@pytest.fixture
async def elsewhere():
    """Where nobody may go."""
    async with FakeUpstream() as running:
        yield running


async def test_nothing_connects_to_an_address_that_a_client_names(proxy, upstream, elsewhere):
    url = elsewhere.url
    tools = [{"type": "mcp", "server_label": "x", "server_url": url}, {"type": "function", "function": {"name": url}}]
    parts = [
        {"type": "image_url", "image_url": {"url": url + "/a.png"}},
        {"type": "file", "file": {"file_url": url, "file_data": url}},
        {"type": "text", "text": url},
    ]
    names = "api_base base_url url plugin plugins plugin_url callback callbacks callback_url webhook proxy proxies"
    fields = dict.fromkeys(names.split(), url)
    body = {"model": "demo/small", "messages": [{"role": "user", "content": parts}], "tools": tools, **fields}
    headers = {"x-plugin-url": url, "referer": url, "origin": url, "x-forwarded-host": url, "location": url}

    for extra in ({}, {"stream": True}, {"metadata": fields}, {"extra_body": fields}):
        assert (await proxy.post("/chat/completions", {**body, **extra}, headers=headers)).status == 200
    await proxy.post("/chat/completions", {**body, "model": url})
    await proxy.get(f"/models/{url}")

    assert elsewhere.connections == 0
    assert {request.path for request in upstream.requests} <= {"/v1/chat/completions", "/v1/models"}


@pytest.mark.parametrize("status", [302, 307])
async def test_an_upstream_cannot_send_the_proxy_elsewhere(proxy, upstream, elsewhere, status):
    upstream.responds(status, headers={"location": elsewhere.url, "refresh": f"0; url={elsewhere.url}"})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status >= 400
    assert "location" not in answer.headers
    assert elsewhere.connections == 0


# --- Code comes from installed packages --------------------------------------------------


TABLES = {
    "tables": '[plugins."{}"]\nx = 1\n[plugins."{}"]\nx = 1\n[plugins."{}"]\nx = 1',
    "required": '[plugins]\nrequired = ["{}", "{}", "{}"]',
    "allowed": '[plugins]\nallowed = ["{}", "{}", "{}", "doctor"]',
}


@pytest.mark.parametrize("table", TABLES)
async def test_a_setting_loads_no_code(tmp_path, elsewhere, table):
    (tmp_path / "plugin.py").write_text("open('ran', 'w')")
    names = elsewhere.url + "/plugin.py", "./plugin.py", "plugin"
    (tmp_path / "proxy-core.toml").write_text(TABLES[table].format(*names))

    code, output = await run(tmp_path, "plugins")

    assert not (tmp_path / "ran").exists()
    assert elsewhere.connections == 0
    assert (code, "Traceback" in output) == (0 if table in ("allowed", "required") else 2, False)


async def test_files_where_it_is_started_are_not_code(tmp_path):
    for name in ("uvloop", "aiohttp", "httpx", "sitecustomize", "proxy_core", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text("open('ran', 'w')")

    async with serving(tmp_path, "--demo", command=SCRIPT):
        pass

    assert not (tmp_path / "ran").exists()


# --- What a request says of itself opens nothing -----------------------------------------

CLAIMS = {
    "host": "Host: localhost",
    "no host": "X-A: b",
    "two hosts": "Host: 127.0.0.1\r\nX-Host: localhost",
    "forwarded": "Host: x\r\nForwarded: for=127.0.0.1;host=localhost;proto=https",
    "forwarded for": "Host: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Host: localhost",
    "rewritten": "Host: x\r\nX-Original-URL: /healthz\r\nX-Rewrite-URL: /healthz\r\nX-Forwarded-Prefix: /healthz",
    "overridden": "Host: x\r\nX-HTTP-Method-Override: GET",
    "prefixed": "Host: x\r\nX-Forwarded-User: admin\r\nX-Authenticated: 1\r\nCookie: session=admin",
    "empty key": "Host: x\r\nAuthorization: Bearer \r\nX-API-Key: ",
    "undefined key": "Host: x\r\nAuthorization: Bearer null",
}
PATHS = [
    *("/v1/models", "/v1/providers", "//v1/models", "/v1/../v1/models", "/healthz/../v1/models", "/v1/models/"),
    *(
        "/V1/models",
        "/v1/models;x",
        "/v1/models%00",
        "/v1%2fmodels",
        "http://localhost/v1/models",
        "/healthz?/v1/models",
    ),
]


async def test_no_header_stands_for_a_key(proxy):
    for name, claim in CLAIMS.items():
        reply = await raw(proxy, f"GET /v1/providers HTTP/1.1\r\n{claim}\r\nConnection: close\r\n\r\n")

        assert reply[9:12] in (b"401", b"400"), name
        assert b"demo" not in reply


async def test_no_spelling_of_a_path_stands_for_a_key(proxy):
    for path in PATHS:
        reply = await raw(proxy, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        assert b"demo" not in reply, path
        assert reply[9:12] in (b"401", b"404", b"400") or path.startswith("/healthz?"), path


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_no_other_origin_is_let_in(proxy, method):
    headers = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    for path in ("/", "/healthz", "/v1/models", "/v1/providers", "/v1/chat/completions", "/nowhere"):
        reply = await proxy.client.request(method, proxy.url.removesuffix("/v1") + path, headers=headers)

        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert method != "OPTIONS" or reply.status_code in (404, 405)


# --- Keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_credential_that_an_upstream_repeats_is_removed_and_the_rest_kept(make_proxy, upstream, stream):
    provider = {"base_url": upstream.url, "api_keys": [LONG_KEY], "headers": {"x-team-token": "team-token-1234567"}}
    proxy = await make_proxy({"providers": {"demo": provider}})
    words = f"odd  bytes {{ {LONG_KEY} and team-token-1234567 }}"
    if stream:
        sent = chunk({"content": words}, model="demo/small") + chunk({}, finish="stop", model="demo/small")
        sent += b"data: [DONE]\n\n"
        upstream.says(sent)
    else:
        sent = json.dumps({"choices": [{"message": {"content": words}}]}, indent=3).encode()
        upstream.responds(body=sent)

    answer = await proxy.chat("demo/small", "hi", stream=stream)

    for secret in (LONG_KEY, "team-token-1234567"):
        sent = sent.replace(secret.encode(), b"[redacted]")
    assert answer.body == sent
    assert int(answer.headers.get("content-length", len(answer.body))) == len(answer.body)


ADDED = {
    "a query": {"query": {"sig": "Query+Secret/12=34&5 6"}},
    "a header of any name": {"headers": {"x-team": "Query+Secret/12=34&5 6"}},
    "an outbound proxy": {"proxy": f"http://me:{quote('Query+Secret/12=34&5 6', safe='')}@127.0.0.1:9", "no_proxy": 1},
}
SPELLED = {
    "plain": "Query+Secret/12=34&5 6",
    "in a query": "?sig=Query%2BSecret/12%3D34%265+6",
    "escaped": "Query%2bSecret%2f12%3d34%265%206",
    "by Go": "Query+Secret/12=34\\u00265 6",
    "by PHP": "Query+Secret\\/12=34&5 6",
}


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
@pytest.mark.parametrize("added", ADDED.values(), ids=ADDED)
async def test_what_settings_add_to_requests_is_removed_from_responses(make_proxy, upstream, added, spelled):
    added = dict(added)
    general = {"no_proxy": ["127.0.0.1"]} if added.pop("no_proxy", None) else {}
    settings = {
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["k1"], **added}},
        "upstream": general,
    }
    proxy = await make_proxy(settings)
    words, error = f'"yes {spelled}"', f'{{"error": {{"message": "no {spelled}", "type": "x"}}}}'
    upstream.responds(body=f'{{"choices": [{{"message": {{"content": {words}}}}}]}}'.encode())
    upstream.says(f'data: {{"choices": [{{"index": 0, "delta": {{"content": {words}}}}}]}}\n\n'.encode(), DONE)
    upstream.responds(400, body=error.encode())
    upstream.responds(body=f'{{"object": "list", "data": [{{"embedding": [1], "note": {words}}}]}}'.encode())
    bodies = [
        (await proxy.chat("demo/small", "hi")).body,
        (await proxy.chat("demo/small", "hi", stream=True)).body,
        (await proxy.chat("demo/small", "hi")).body,
        (await proxy.post("/embeddings", {"model": "demo/small", "input": "hi"})).body,
    ]

    for body in bodies:
        assert b"[redacted]" in body
        assert b"Secret" not in body
    assert not any("Secret" in repr(record) for record in proxy.process.recent.newest(9))


async def test_versions_and_words_of_settings_are_no_secrets(make_proxy, upstream):
    added = {"query": {"api-version": "2026-10-01-preview"}, "headers": {"HTTP-Referer": "https://page.example/here"}}
    settings = {"providers": {"demo": {"base_url": upstream.url, **added}}, "upstream": {"proxy": "direct"}}
    proxy = await make_proxy(settings)
    words = "a direct use of 2026-10-01-preview at https://page.example/here"
    upstream.streams(words)
    upstream.responds(400, {"error": {"message": words}})

    assert (await proxy.chat("demo/small", "hi", stream=True)).text == words
    assert (await proxy.chat("demo/small", "hi")).error["message"] == words


async def test_a_stand_in_for_a_key_is_a_word_like_any_other(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "api_keys": ["ollama"]}}})
    upstream.streams("run ollama ", "serve")

    assert (await proxy.chat("demo/small", "hi", stream=True)).text == "run ollama serve"


async def test_hypercorns_logs_which_show_keys_in_addresses_are_refused(tmp_path):
    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_SERVER__HYPERCORN__ACCESSLOG="-")

    assert (code, "server.hypercorn.accesslog: use [log]" in output) == (2, True)


async def test_hypercorn_listens_nowhere_else(tmp_path):
    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_SERVER__HYPERCORN__INSECURE_BIND="0.0.0.0:9")

    assert (code, "server.hypercorn.insecure_bind: use server.host" in output) == (2, True)


# --- Guards stay closed ------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ['mask = ["emial"]', 'patterns = { a = "(" }'])
async def test_a_guard_that_was_set_up_wrongly_stops_the_program(tmp_path, wrong):
    (tmp_path / "proxy-core.toml").write_text(f"[plugins.redaction]\n{wrong}\n")

    code, output = await run(tmp_path, "serve", "--port", "0")

    assert code == 2
    assert "plugin 'redaction'" in output
    assert "fix it, list it in [plugins] optional" in output
    assert "or in [plugins] disabled" in output


async def test_so_it_does_from_the_environment(tmp_path):
    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_PLUGINS__REDACTION__MASK="emial")

    assert (code, "plugin 'redaction'" in output) == (2, True)


class Strange:
    """What a redactor must not return."""

    def __repr__(self):
        return "Strange()"


@pytest.mark.parametrize("result", [None, {}, [], "text", Strange(), {"id": Strange()}], ids=repr)
async def test_whatever_a_redactor_returns_no_content_passes_it_unseen(make_proxy, upstream, tmp_path, result):
    redactor = proxy_core.Redactor(name="strange", rank=9, redact=lambda record: result)
    settings = {"providers": {"demo": {"base_url": upstream.url}}, "records": {"enabled": True}}
    proxy = await make_proxy(settings, modules=[plugin_with(proxy_redactors=[redactor])])

    await proxy.chat("demo/small", "private-words")
    proxy.stop.set()
    written = ""
    while not written:
        await asyncio.sleep(0.05)
        written = "".join(file.read_text() for file in tmp_path.rglob("*.jsonl"))

    assert "private-words" not in written
