"""``GET /admin/status``: everything that a running proxy says about itself, and no secret."""

import asyncio

import pytest

from proxy_core.cli.api import load, processes, statuses
from proxy_core.server import control_socket
from proxy_core.testing import fingerprint

ADMIN = "the-admin-key"


@pytest.fixture
def proxy_with_admin(make_proxy, upstream):
    """A proxy like the fixture ``proxy``, with a known admin key."""

    async def make(**tables):
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
        settings = {"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 60}}
        return await make_proxy({**settings, "admin": {"key": ADMIN}, **tables})

    return make


async def test_the_status_says_what_runs_what_was_counted_and_what_is_in_cooldown(proxy_with_admin, upstream):
    upstream.for_key("key-a").responds(401, json_body={"error": {"message": "key-a is not good, says key-b"}})
    proxy = await proxy_with_admin()
    response = await proxy.chat("demo/small", "hi")
    (status,) = (await proxy.get("/../admin/status", key=ADMIN)).json["processes"]
    demo = next(provider for provider in status["providers"] if provider["name"] == "demo")
    first, second = demo["credentials"]
    (count,) = status["requests"]

    assert status["health"] == {"state": "ok", "problems": []}
    assert (status["worker"], status["parent"], status["store"]["scheme"]) == (1, None, "memory")
    assert (demo["name"], demo["plugin"], demo["selector"]) == ("demo", "openai_compat", "sequential")
    assert [c["id"] for c in (first, second)] == [fingerprint("key-a"), fingerprint("key-b")]
    assert (first["state"], second["state"], demo["cooling_down"]) == ("cooling down", "usable", 1)
    assert second["quotas"][0]["used"] == 1
    assert (count["client"], count["model"], count["status"], count["requests"]) == ("test", "small", 200, 1)
    (recent,) = status["recent"]
    assert (recent["id"], recent["attempts"]) == (response.headers["x-request-id"], 2)
    assert recent["deployment"] == "demo/small"
    assert {"core", "openai_compat"} <= {plugin["name"] for plugin in status["plugins"]}


async def test_no_secret_is_in_the_status(proxy_with_admin, upstream):
    first, second = "first-key-of-many", "second-key-of-many"
    told = {"message": f"{first} has had enough, says {second}", "code": "rate_limit_exceeded"}
    upstream.for_key(first).responds(429, json_body={"error": told})
    proxy = await proxy_with_admin(
        providers={"demo": {"base_url": upstream.url, "api_keys": [first, second]}},
        state={"url": "memory:", "secret": "the-secret-of-fingerprints"},
    )
    await proxy.chat("demo/small", "a prompt of ann")
    text = (await proxy.get("/../admin/status", key=ADMIN)).body.decode()

    hidden = (first, second, proxy.key, ADMIN, "the-secret-of-fingerprints", "a prompt of ann")
    assert [secret for secret in hidden if secret in text] == []
    assert "has had enough" in text


async def test_the_status_requires_the_admin_key(proxy_with_admin):
    proxy = await proxy_with_admin()

    for path in ("/../admin/status", "/../admin/status?local=1"):
        assert (await proxy.get(path)).status == 401


async def test_counts_alone_are_there_without_the_single_credentials(proxy_with_admin):
    proxy = await proxy_with_admin()
    (status,) = (await proxy.get("/../admin/status?credentials=0", key=ADMIN)).json["processes"]

    assert sum(provider["credential_count"] for provider in status["providers"]) >= 2
    assert [provider["credentials"] for provider in status["providers"] if provider["credentials"]] == []


async def test_the_status_names_what_readyz_names(proxy_with_admin):
    proxy = await proxy_with_admin(providers={})
    ready = await proxy.get("/../readyz")
    (status,) = (await proxy.get("/../admin/status", key=ADMIN)).json["processes"]

    assert ready.status == 503
    assert ready.json == {"status": "unavailable", "problems": status["health"]["problems"]}


async def test_a_provider_that_fails_is_a_problem_of_the_status_and_none_for_a_load_balancer(
    proxy_with_admin, upstream
):
    upstream.responds(503, headers={"retry-after": "120"})
    proxy = await proxy_with_admin(routing={"circuit_breaker_failures": 1, "max_wait_s": 0.2})
    await proxy.chat("demo/small", "hi")
    (status,) = (await proxy.get("/../admin/status", key=ADMIN)).json["processes"]

    assert status["health"] == {
        "state": "degraded",
        "problems": ["demo: its requests fail, so its circuit breaker is open"],
    }
    assert (await proxy.get("/../readyz")).json == {"status": "ok", "problems": []}


async def test_only_the_newest_requests_are_in_the_status(proxy_with_admin):
    proxy = await proxy_with_admin()
    responses = await asyncio.gather(*(proxy.chat("demo/small", "hi") for _ in range(101)))
    last = await proxy.chat("demo/small", "hi")
    (status,) = (await proxy.get("/../admin/status", key=ADMIN)).json["processes"]

    assert all(response.status == 200 for response in responses)
    assert len(status["recent"]) == 100
    assert status["recent"][0]["id"] == last.headers["x-request-id"]


async def test_a_command_leaves_out_a_process_of_another_version(home):
    """Such as one that still runs during an upgrade."""
    loaded = load(overrides={}, environ={"PROXY_DATA_DIR": str(home)}, cwd=home)
    body = b'{"processes": [{"version": "0.0.1"}]}'

    async def older(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(older, sock=control_socket.listen(loaded.runtime_dir)):
        assert await asyncio.to_thread(processes, loaded, "GET", "/admin/status") == [{"version": "0.0.1"}]
        assert await asyncio.to_thread(statuses, loaded) == []
