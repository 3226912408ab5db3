"""What an operator may ask of a running proxy, and what nobody else may."""

import asyncio
import json
import stat

import pytest

import proxy_core
from proxy_core.errors import SettingsError
from proxy_core.runtime.start import start
from proxy_core.server import control_socket
from proxy_core.settings.loading import load
from proxy_core.testing import fingerprint, plugin_with, stall
from proxy_plugin_doctor import why

HINTED = {"retry-after": "30"}


class Operator:
    """Asks below ``/admin`` with the admin key."""

    def __init__(self, proxy, key=None):
        self.proxy = proxy
        self.root = proxy.url.removesuffix("/v1")
        self.key = key or (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()

    async def get(self, path):
        return await self._ask("GET", path)

    async def post(self, path, body=None):
        return await self._ask("POST", path, None if body is None else json.dumps(body))

    async def _ask(self, method, path, content=None):
        headers = {"authorization": f"Bearer {self.key}"}
        return await self.proxy.client.request(method, self.root + path, content=content, headers=headers, timeout=10)


def rewriting(name="rewriting"):
    def request(r):
        return r.with_body({**r.body, "user": "somebody-secret"})

    return proxy_core.Sanitizer(name=name, request=request)


# --- Who may ask -------------------------------------------------------------------------

PATHS = [
    ("GET", "/admin/why?model=demo/small"),
    ("GET", "/admin/status"),
    ("GET", "/admin/usage"),
    ("GET", "/admin/explain/x"),
    ("POST", "/admin/explain"),
    ("POST", "/admin/cooldowns/clear"),
]


async def test_only_the_admin_key_opens_admin_and_it_opens_nothing_else(proxy, upstream):
    for method, path in PATHS:
        for key in (proxy.key, "wrong", "key-a"):
            reply = await Operator(proxy, key)._ask(method, path, "{}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        bare = await proxy.client.request(method, proxy.url.removesuffix("/v1") + path)
        assert bare.status_code == 401
    assert (await proxy.get("/models", key=Operator(proxy).key)).status == 401
    assert upstream.requests == []


async def test_the_admin_key_is_made_once_for_its_owner_alone(proxy):
    file = proxy.proxy.loaded.data_dir / "admin.key"
    key = file.read_text()

    start(proxy.proxy.loaded)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == key
    assert len(key.strip()) > 30


def test_a_configured_admin_key_leaves_no_file_and_a_clients_is_refused(tmp_path):
    def loaded(client):
        tables = {"clients": {"ann": {"key": client}}, "admin": {"key": "the-same"}}
        return load(overrides=tables, environ={"PROXY_DATA_DIR": str(tmp_path)}, cwd=tmp_path)

    start(loaded("another"))
    assert not (tmp_path / "admin.key").exists()
    with pytest.raises(SettingsError, match="this key is also a client's key"):
        start(loaded("the-same"))


# --- explain -----------------------------------------------------------------------------


async def test_a_request_is_explained_with_exclusions_and_reasons(make_proxy, upstream):
    upstream.for_key("key-a").responds(429, headers=HINTED)
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    settings = {"providers": {"demo": provider}, "routing": {"selector": "sequential"}}
    proxy = await make_proxy(settings, modules=[plugin_with(proxy_sanitizers=[rewriting()])])
    first = (await proxy.chat("demo/small", "hi")).headers["x-request-id"]
    second = (await proxy.chat("demo/small", "hi")).headers["x-request-id"]

    operator = Operator(proxy)
    one, two = [(await operator.get(f"/admin/explain/{name}")).json() for name in (first, second)]

    a, b = fingerprint("key-a"), fingerprint("key-b")
    assert one["changed_by"] == ["rewriting"]
    assert [d["chosen"] for d in one["decisions"]] == [a, b]
    assert [(x["credential"], x["reason"]) for x in one["decisions"][1]["excluded"]] == [(a, "tried")]
    assert [(x["credential"], x["status"], x["fault"]) for x in one["attempts"]] == [(a, 429, "model"), (b, 200, None)]
    [excluded] = two["decisions"][0]["excluded"]
    assert (excluded["credential"], excluded["reason"]) == (a, "cooling down")
    assert 28 < excluded["left_s"] <= 30
    assert "scripted 429" in excluded["upstream_message"]
    assert (two["id"], two["model"], two["client"], two["status"]) == (second, "demo/small", "test", 200)
    for shown in (json.dumps(one), json.dumps(two)):
        assert not any(secret in shown for secret in ("key-a", "key-b", "somebody-secret", proxy.key, '"hi"'))


async def test_a_request_that_failed_or_whose_client_left_is_explained_too(proxy, upstream):
    upstream.responds(401)
    failed = (await proxy.chat("demo/small", "hi")).headers["x-request-id"]
    upstream.queue.clear()
    upstream.says(stall())
    for pool in proxy.proxy.pools.values():
        pool.clear()
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    leaving = asyncio.create_task(proxy.post("/chat/completions", body, headers={"x-request-id": "left"}))
    async with asyncio.timeout(20):
        while len(upstream.requests) < 3:
            await asyncio.sleep(0.005)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.sleep(0.1)

    told = [(await Operator(proxy).get(f"/admin/explain/{name}")).json() for name in (failed, "left")]

    assert [(t["outcome"], len(t["attempts"])) for t in told] == [("failed", 2), ("client_left", 1)]


async def test_an_unknown_request_is_a_404_and_only_the_last_ones_are_known(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url}}, "routing": {"explain_history": 2}})
    ids = [(await proxy.chat("demo/small", "hi")).headers["x-request-id"] for _ in range(3)]

    statuses = [(await Operator(proxy).get(f"/admin/explain/{name}")).status_code for name in [*ids, "nobodys"]]

    assert statuses == [404, 200, 200, 404]
    assert len(proxy.proxy.services.recent) == 2


async def test_the_record_of_a_request_has_the_same(make_proxy, upstream):
    kept = []

    async def write(records):
        kept.extend(records)

    upstream.for_key("key-a").responds(429, headers=HINTED)
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    settings = {"providers": {"demo": provider}, "records": {"enabled": True}, "plugins": {"disabled": ["redaction"]}}
    sink = proxy_core.LogSink(name="kept", write=write)
    proxy = await make_proxy(settings, modules=[plugin_with(proxy_log_sinks=[sink])])
    answer = await proxy.chat("demo/small", "hi")
    told = (await Operator(proxy).get(f"/admin/explain/{answer.headers['x-request-id']}")).json()
    async with asyncio.timeout(20):
        while not kept:
            await asyncio.sleep(0.01)

    record = json.loads(kept[0]) if isinstance(kept[0], str | bytes) else dict(kept[0])
    assert {name: record[name] for name in told} == told


# --- --dry-run ---------------------------------------------------------------------------


async def test_a_dry_run_says_where_it_would_go_and_sends_nothing(make_proxy, upstream):
    providers = {
        "one": {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]},
        "two": {"base_url": upstream.url, "api_keys": ["key-c"]},
    }
    settings = {"providers": providers, "models": {"best": ["one/a", "two/b"]}}
    proxy = await make_proxy(settings, modules=[plugin_with(proxy_sanitizers=[rewriting()])])
    proxy.proxy.pools["two"].take(_request(), "b").failed(_limited())

    reply = await Operator(proxy).post("/admin/explain", {"model": "best"})

    [process] = reply.json()["processes"]
    one, two = process["steps"]
    assert process["changed_by"] == ["rewriting"]
    assert (one["deployment"], one["candidates"], one["chosen"]) == ("one/a", 2, fingerprint("key-a"))
    assert one["would_send"] == f"POST {upstream.url}/chat/completions"
    assert (two["deployment"], two["chosen"], two["excluded"][0]["reason"]) == ("two/b", None, "cooling down")
    assert "would_send" not in two
    assert upstream.requests == []
    assert proxy.proxy.pools["one"].in_flight == 0
    assert not any(key in reply.text for key in ("key-a", "key-b", "key-c", "somebody-secret"))


async def test_a_dry_run_leaves_out_a_query_that_may_hold_a_key(make_proxy):
    def encode(call, credential):
        url = f"https://gemini.example/v1/{call.chat.model}?key={credential.secret.get_secret_value()}"
        return proxy_core.UpstreamRequest(url=url, headers=[], content=b"{}")

    provider = proxy_core.Provider(name="gem", encode=encode, decoder=lambda call, response: None)
    proxy = await make_proxy(
        {"providers": {"gem": {"api_keys": ["key-secret"]}}}, modules=[plugin_with(proxy_providers=[provider])]
    )

    reply = await Operator(proxy).post("/admin/explain", {"model": "gem/x"})

    assert reply.json()["processes"][0]["steps"][0]["would_send"] == "POST https://gemini.example/v1/x"
    assert "key-secret" not in reply.text


BAD = {
    "no model": ({}, 400),
    "an unknown model": ({"model": "nope"}, 404),
    "an unknown dialect": ({"model": "demo/small", "dialect": "nope"}, 400),
    "a dialect that is no name": ({"model": "demo/small", "dialect": ["x"]}, 400),
    "a wrong body": ({"model": "demo/small", "messages": 1}, 400),
}


async def test_a_dry_run_fails_as_the_request_would(proxy, upstream):
    for body, status in BAD.values():
        reply = await Operator(proxy).post("/admin/explain", body)
        assert (reply.status_code, bool(reply.json()["error"]["message"])) == (status, True), body
    assert upstream.requests == []


async def test_a_dry_run_of_another_dialect_needs_its_model_alone(proxy):
    for dialect, path in (("openai_completions", "completions"), ("openai_embeddings", "embeddings")):
        reply = await Operator(proxy).post("/admin/explain", {"model": "demo/small", "dialect": dialect})
        assert reply.json()["processes"][0]["steps"][0]["would_send"].endswith(path)


# --- why, clear --------------------------------------------------------------------------


async def test_why_says_since_when_until_when_and_in_which_words(make_proxy, upstream):
    first, second = "first-key-of-many", "second-key-of-many"
    provider = {"base_url": upstream.url, "api_keys": [first, second]}
    proxy = await make_proxy({"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 1}})
    said = {"error": {"message": f"{first}: slow down, {second}\n\u001b[31mnow", "code": "rate_limit_exceeded"}}
    upstream.for_key(first).responds(429, said, headers={"retry-after": "4000"})
    await proxy.chat("demo/small", "hi")

    reply = await Operator(proxy).get("/admin/why?model=demo/small")

    [process] = reply.json()["processes"]
    [deployment] = process["deployments"]
    assert (deployment["deployment"], deployment["selector"], deployment["outage"]) == (
        "demo/small",
        "sequential",
        None,
    )
    resting, usable = deployment["credentials"]
    assert (resting["id"], resting["state"], usable["state"]) == (fingerprint(first), "cooling down", "usable")
    [rest] = resting["cooldowns"]
    assert rest["since"] < rest["next_probe"] < rest["until"], "a far hint is not believed to its end"
    assert rest["scope"] == "small"
    assert "slow down" in rest["upstream_message"]
    assert "[redacted]" in rest["upstream_message"]
    assert first not in reply.text
    assert second not in reply.text


@pytest.mark.parametrize("redactor", [True, False])
async def test_what_upstreams_said_is_shown_as_in_the_status(make_proxy, upstream, redactor):
    """With a key that looks like one; without a redactor, nothing: no one has looked for keys."""
    key = "sk-proj-" + "Ab1" * 16
    tables = {"providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}, "routing": {"max_wait_s": 0}}
    proxy = await make_proxy({**tables, "plugins": {"disabled": [] if redactor else ["redaction"]}})
    said = {"error": {"message": f"too fast, {key}", "code": "rate_limit_exceeded"}}
    upstream.responds(429, said, headers={"retry-after": "4000"})
    await proxy.chat("demo/small", "hi")
    request_id = (await proxy.chat("demo/small", "hi")).headers["x-request-id"]
    operator = Operator(proxy)
    paths = ("/admin/why?model=demo/small", f"/admin/explain/{request_id}", "/admin/status")
    answers = [(await operator.get(path)).text for path in paths]
    answers.append((await operator.post("/admin/explain", {"model": "demo/small"})).text)
    described = json.loads(answers[0])["processes"][0]["deployments"][0]

    for answer in answers:
        assert key not in answer
        assert ("too fast" in answer) == redactor, answer
    assert ("too fast" if redactor else "rate_limit_exceeded (for small)") in "\n".join(why._described(described))


async def test_why_of_an_unknown_model_is_a_404_and_of_none_a_400(proxy):
    assert (await Operator(proxy).get("/admin/why?model=nope")).status_code == 404
    assert (await Operator(proxy).get("/admin/why")).status_code == 400


async def test_clear_ends_what_it_is_asked_to_end(make_proxy, upstream):
    upstream.responds(429, headers=HINTED)
    providers = {name: {"base_url": upstream.url, "api_keys": [f"key-{name}"]} for name in ("one", "two")}
    proxy = await make_proxy({"providers": providers, "routing": {"max_wait_s": 0.1}})
    operator = Operator(proxy)
    for name in ("one", "two"):
        for model in ("small", "large"):
            await proxy.chat(f"{name}/{model}", "hi")

    async def cleared(**asked):
        return (await operator.post("/admin/cooldowns/clear", asked)).json()["processes"][0]["cleared"]

    assert await cleared(model="one/small") == 1
    assert await cleared(model="one/small") == 0
    assert await cleared(provider="one") == 1
    assert await cleared(credential=fingerprint("key-one")) == 0
    assert await cleared(credential=fingerprint("key-two"), model="two/large") == 1
    assert await cleared() == 1


async def test_clear_refuses_what_does_not_exist(proxy):
    wrong = [{"provider": "x"}, {"credential": "x"}, {"model": "x"}, {"nope": 1}, {"provider": ["demo"]}]
    wrong += [{"credential": {}}, {"model": 1}, {"provider": None}]
    for asked in wrong:
        reply = await Operator(proxy).post("/admin/cooldowns/clear", asked)
        assert reply.status_code in (400, 404), asked


# --- The folder of sockets ---------------------------------------------------------------


def test_sockets_are_in_a_folder_only_their_owner_can_enter(tmp_path):
    folder = tmp_path / "run"

    own = control_socket.own_socket(folder)

    assert own is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o777], ids=oct)
async def test_a_folder_that_others_can_enter_is_not_used_and_gets_no_key(tmp_path, mode):
    folder, heard = tmp_path / "run", []
    folder.mkdir()
    folder.chmod(mode)

    async def listens(reader, writer):
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_unix_server(listens, folder / "1.sock")
    with pytest.raises(control_socket.Unreachable):
        await control_socket.ask(folder, "GET", "/admin/why", "the-key")
    server.close()

    assert control_socket.own_socket(folder) is None
    assert heard == []


async def test_a_link_to_a_folder_is_not_one(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")

    assert control_socket.own_socket(tmp_path / "run") is None


def _request():
    return proxy_core.ProxyRequest(
        id="x", client="x", dialect="openai_chat", model="x", stream=False, body={"model": "x"}
    )


def _limited():
    error = proxy_core.CapacityExhausted("said so")
    return proxy_core.FailureDecision(fault="model", next="rotate", error=error, cooldown="model", cooldown_s=30)
