"""The server: keys, ids, health, start, stop."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import stat
import subprocess

import httpx
import pytest

import proxy_core
from proxy_core.testing import chunk, pause, plugin_with, run, serving, stall
from proxy_core.testing.program import MODULE, SCRIPT

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}


# --- Keys --------------------------------------------------------------------------------

PLACES = {
    "bearer": ({"authorization": "Bearer test-client-key"}, ""),
    "bearer, other case": ({"authorization": "bearer test-client-key"}, ""),
    "x-api-key": ({"x-api-key": "test-client-key"}, ""),
    "x-goog-api-key": ({"x-goog-api-key": "test-client-key"}, ""),
    "query": ({}, "?key=test-client-key"),
    "a right key beside a wrong one": ({"authorization": "Bearer no", "x-api-key": "test-client-key"}, ""),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_key_is_taken_from_where_clients_put_it(proxy, place):
    headers, query = place

    assert (await proxy.client.post(f"{proxy.url}/chat/completions{query}", json=CHAT, headers=headers)).is_success


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}])
@pytest.mark.parametrize("path", ["/chat/completions", "/embeddings", "/completions", "/models", "/providers"])
async def test_nothing_is_served_without_a_right_key(proxy, upstream, headers, path):
    method = "GET" if path in ("/models", "/providers") else "POST"

    reply = await proxy.client.request(method, proxy.url + path, headers=headers)

    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert upstream.requests == []


async def test_clients_have_names(make_proxy, upstream):
    clients = {"ann": {"key": "key-of-ann"}, "bob": {"key": "key-of-bob"}}
    seen = []
    proxy = await make_proxy(
        {"clients": clients, "providers": {"demo": {"base_url": upstream.url}}}, modules=[_observer(seen)]
    )

    for key in ("key-of-bob", "key-of-ann"):
        await proxy.post("/chat/completions", CHAT, key=key)
    await _until(lambda: len(seen) == 2)

    assert [record.client for record in seen] == ["bob", "ann"]


# --- Ids, health -------------------------------------------------------------------------


async def test_a_sane_request_id_is_kept_and_returned(proxy):
    answer = await proxy.post("/chat/completions", CHAT, headers={"x-request-id": "mine-1.2:3_4"})

    assert answer.headers["x-request-id"] == answer.headers["request-id"] == "mine-1.2:3_4"


@pytest.mark.parametrize("name", ["", "a b", "x" * 200, '"><script>'])
async def test_any_other_request_id_is_replaced(proxy, name):
    answer = await proxy.post("/chat/completions", CHAT, headers={"x-request-id": name})

    assert answer.headers["x-request-id"] not in ("", name)


async def test_an_error_has_a_request_id_too(proxy):
    assert (await proxy.post("/chat/completions", {})).headers["x-request-id"]
    assert (await proxy.get("/models/nope/x")).headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_health_needs_no_key(proxy, path):
    root = proxy.url.removesuffix("/v1")

    assert (await proxy.client.get(root + path)).status_code == 200
    assert (await proxy.client.head(root + path)).status_code == 200


async def test_a_proxy_without_any_credential_is_not_ready(make_proxy):
    proxy = await make_proxy({})

    reply = await proxy.client.get(proxy.url.removesuffix("/v1") + "/readyz")

    assert reply.status_code == 503


async def test_models_and_providers_are_listed(proxy, upstream):
    upstream.for_path("/models").responds(json_body={"data": [{"id": "org/b", "context_length": 9}, {"id": "a"}]})

    models = (await proxy.get("/models")).json["data"]
    providers = (await proxy.get("/providers")).json["data"]

    assert [model["id"] for model in models] == ["demo/a", "demo/org/b"]
    assert models[1]["context_length"] == 9
    assert [provider["credentials"] for provider in providers if provider["id"] == "demo"] == [2]


async def test_a_failed_model_list_is_not_cached(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "models": ["mine"]}}})
    upstream.for_path("/models").responds(500)

    answer = await proxy.get("/models")

    assert [model["id"] for model in answer.json["data"]] == ["demo/mine"]
    assert (await proxy.get("/models/demo/mine")).status == 200


async def test_a_model_list_is_requested_once(proxy, upstream):
    await asyncio.gather(*(proxy.get("/models") for _ in range(5)))

    assert [request.path for request in upstream.requests] == ["/v1/models"]


async def test_the_paths_work_without_their_prefix(proxy):
    root, headers = proxy.url.removesuffix("/v1"), {"authorization": f"Bearer {proxy.key}"}

    assert (await proxy.client.post(f"{root}/chat/completions", json=CHAT, headers=headers)).is_success
    assert (await proxy.client.get(f"{root}/models", headers=headers)).is_success


# --- The program -------------------------------------------------------------------------


async def test_it_refuses_to_listen_beyond_loopback_without_a_configured_key(tmp_path):
    code, output = await run(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")

    assert code == 2
    assert "no client key is configured" in output
    assert "Traceback" not in output


async def test_a_first_start_makes_a_key_and_never_shows_it(tmp_path):
    file = tmp_path / "data" / "proxy-core" / "client.key"
    async with serving(tmp_path) as program, asyncio.timeout(30):
        while str(file) not in program.output:  # it listens before it has said everything
            await asyncio.sleep(0.01)
    key = file.read_text().strip()
    async with serving(tmp_path) as again:
        reply = httpx.get(f"{again.url}/v1/providers", headers={"authorization": f"Bearer {key}"})

    assert reply.status_code == 200
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_text().strip() == key
    assert len(key) > 30
    assert key not in program.output + again.output
    assert str(file) in program.output


async def test_the_demo_answers_without_any_account(tmp_path):
    async with serving(tmp_path, "--demo", PROXY_API_KEY="some-key") as program, httpx.AsyncClient() as client:
        headers = {"authorization": "Bearer some-key"}
        chat = await client.post(f"{program.url}/v1/chat/completions", json=CHAT, headers=headers)
        stream = await client.post(f"{program.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers)
        models = await client.get(f"{program.url}/v1/models", headers=headers)

    assert "You said: hi" in chat.json()["choices"][0]["message"]["content"]
    assert stream.text.endswith("data: [DONE]\n\n")
    assert {model["id"] for model in models.json()["data"]} == {"demo/small", "demo/large"}
    assert "providers: demo\n" in program.output, "what waits for a login is no news to who has none"


async def test_variables_taken_and_not_taken_are_named_but_not_shown(tmp_path):
    variables = {"MINE_API_BASE": "http://127.0.0.1:1/v1", "MINE_API_KEY_2": "two-secret", "STRAY_API_KEY": "s-secret"}
    async with serving(tmp_path, PROXY_API_KEY="k-secret", PROXY_SERVR__PORT="1", **variables) as program:
        pass

    assert "mine (MINE_API_KEY_2)" in program.output
    assert "STRAY_API_KEY is not used" in program.output
    assert "PROXY_SERVR__PORT sets nothing" in program.output
    assert "secret" not in program.output


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["proxy-core", "python -m proxy_core"])
async def test_wrong_settings_are_reported_at_once_without_a_traceback(tmp_path, command):
    (tmp_path / "proxy-core.toml").write_text('[servr]\nport = 1\n[timeouts]\nconect_s = 1\nidle_s = "no"\n')

    code, output = await run(tmp_path, "serve", "--port", "0", command=command)

    assert code == 2
    assert "did you mean 'server'?" in output
    assert "did you mean 'connect_s'?" in output
    assert "timeouts.idle_s" in output
    assert "proxy-core.toml" in output
    assert "Traceback" not in output


async def test_a_taken_port_is_reported_in_one_line(tmp_path):
    async with serving(tmp_path) as program:
        code, output = await run(tmp_path, "serve", "--port", program.url.rpartition(":")[2])

    assert code == 2
    assert "cannot listen on" in output
    assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["proxy-core", "python -m proxy_core"])
async def test_workers_share_a_port_and_end_together(tmp_path, upstream, command, http_server):
    variables = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url}
    async with serving(tmp_path, "--workers", "2", "--server", http_server, command=command, **variables) as program:
        async with httpx.AsyncClient() as client:
            for _ in range(10):
                headers = {"authorization": "Bearer some-key", "connection": "close"}
                reply = await _retried(client, f"{program.url}/v1/chat/completions", headers)
                assert reply.is_success
        program.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.process.wait(), 15) == 0


async def test_a_stop_lets_a_running_stream_finish(tmp_path, upstream, http_server):
    upstream.streams("hel", "lo", gap_s=0.4)
    async with _streaming(tmp_path, upstream, http_server) as (program, reply):
        program.process.send_signal(signal.SIGTERM)
        text = (await reply.aread()).decode()
        await asyncio.wait_for(program.process.wait(), 15)

    assert "lo" in text
    assert text.endswith("data: [DONE]\n\n")
    assert program.process.returncode == 0


async def test_a_stop_ends_a_stream_that_takes_too_long_with_an_error(tmp_path, upstream, http_server):
    upstream.says(chunk({"content": "hel"}), pause(0.1), stall())
    async with _streaming(tmp_path, upstream, http_server, PROXY_SERVER__SHUTDOWN_GRACE_S="0.3") as (program, reply):
        program.process.send_signal(signal.SIGTERM)
        text = (await reply.aread()).decode()
        await asyncio.wait_for(program.process.wait(), 15)

    assert "The server is stopping" in text
    assert "[DONE]" not in text


async def test_a_second_signal_does_not_wait(tmp_path, upstream, http_server):
    upstream.says(chunk({"content": "hel"}), stall())
    async with _streaming(tmp_path, upstream, http_server) as (program, reply):
        program.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        program.process.send_signal(signal.SIGINT)
        await reply.aread()
        await asyncio.wait_for(program.process.wait(), 15)


async def test_it_speaks_tls(tmp_path, upstream, http_server):
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl program to make a certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    san = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make.split(), *san], cwd=tmp_path, check=True, capture_output=True)
    options = ["--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    options += ["--server", http_server]
    variables = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url}
    async with serving(tmp_path, *options, **variables) as program:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        async with httpx.AsyncClient(verify=context) as client:
            headers = {"authorization": "Bearer some-key"}
            reply = await client.post(f"{program.url}/v1/chat/completions", json=CHAT, headers=headers)

    assert program.url.startswith("https://")
    assert reply.json()["choices"][0]["message"]["content"] == "hello"


async def test_hypercorns_own_settings_are_reachable(tmp_path):
    code, output = await run(tmp_path, "serve", "--port", "0", PROXY_SERVER__HYPERCORN__NOPE="1")
    assert (code, "Hypercorn has no such setting" in output) == (2, True)

    async with serving(tmp_path, PROXY_SERVER__HYPERCORN__INCLUDE_SERVER_HEADER="true") as program:
        assert httpx.get(program.url).headers["server"] == "hypercorn-h11"


@pytest.mark.slow
async def test_no_secret_is_in_the_process_list(tmp_path, upstream):
    variables = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "up-secret"}
    async with serving(tmp_path, "--workers", "2", command=SCRIPT, **variables):
        listed = []
        for pid in filter(str.isdigit, os.listdir("/proc")) if os.path.isdir("/proc") else ():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    listed.append(file.read())
            except OSError:
                continue

    assert not any(b"some-key" in line or b"up-secret" in line for line in listed)


def _observer(seen):
    async def observe(record):
        seen.append(record)

    return plugin_with(proxy_observers=[proxy_core.Observer(name="watching", observe=observe)])


async def _until(condition):
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def _retried(client, url, headers):
    """Workers compose their proxies after the port is open; the first connection may wait for that."""
    return await client.post(url, json=CHAT, headers=headers, timeout=20)


class _streaming:
    """A program with a stream under way."""

    def __init__(self, home, upstream, http_server, **variables):
        key = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url}
        self._serving = serving(home, "--server", http_server, **key, **variables)
        self._client = httpx.AsyncClient(timeout=20)

    async def __aenter__(self):
        self._program = await self._serving.__aenter__()
        request = self._client.build_request(
            "POST",
            f"{self._program.url}/v1/chat/completions",
            content=json.dumps({**CHAT, "stream": True}),
            headers={"authorization": "Bearer some-key"},
        )
        return self._program, await self._client.send(request, stream=True)

    async def __aexit__(self, *exc):
        await self._client.aclose()
        await self._serving.__aexit__(*exc)
