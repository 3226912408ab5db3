"""Reading settings again while requests run."""

import asyncio
import gc
import os
import signal
from contextlib import asynccontextmanager

import httpx
import pytest

from proxy_core.runtime.generation import Generation
from proxy_core.testing import FakeUpstream, fingerprint, run, serving
from proxy_core.testing.proxy import CLIENT_KEY
from proxy_core.testing.steps import chunk


async def until(holds, within_s=20.0):
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.005)


def demo(upstream, *keys, **more):
    return {"demo": {"base_url": upstream.url, "api_keys": list(keys), **more}}


@pytest.fixture
async def other():
    async with FakeUpstream() as running:
        yield running


@pytest.fixture
async def patient(make_proxy, upstream):
    """Lets old requests go on for as long as they want to."""
    tables = {"routing": {"selector": "sequential"}, "server": {"shutdown_grace_s": 30}}
    return await make_proxy({"providers": demo(upstream, "key-a", "key-b"), **tables})


# --- New settings take effect ---------------------------------------------------------------


async def test_a_new_key_provider_route_and_client_serve_the_next_request(proxy, upstream, other):
    done = await proxy.reload(
        providers=demo(upstream, "key-c") | {"second": {"base_url": other.url, "api_keys": ["key-s"]}},
        models={"best": ["second/small"]},
        clients={"test": {"key": CLIENT_KEY}, "bob": {"key": "bobs-own-key"}},
    )
    first = await proxy.chat("demo/small", "hi")
    body = {"model": "best", "messages": [{"role": "user", "content": "hi"}]}
    second = await proxy.post("/chat/completions", body, key="bobs-own-key")

    assert done.reloaded
    assert {"clients.bob (new)", "models.best (new)", "providers.second (new)"} <= set(done.changed)
    assert {f"credential demo +{fingerprint('key-c')}", f"credential demo -{fingerprint('key-a')}"} <= set(done.changed)
    assert (first.status, second.status) == (200, 200)
    assert (upstream.keys_seen, other.keys_seen) == (["key-c"], ["key-s"])
    assert "key-c" not in str(done)


async def test_a_removed_client_is_refused(proxy):
    assert (await proxy.chat("demo/small", "hi")).status == 200

    await proxy.reload(clients={"bob": {"key": "bobs-own-key"}})

    assert (await proxy.chat("demo/small", "hi")).status == 401


async def test_a_running_stream_finishes_on_the_old_set_whose_connections_then_close(patient, upstream, other):
    proxy, go_on = patient, asyncio.Event()
    first, *last = (chunk({"content": text}) for text in "abc")
    upstream.says(first, go_on, *last, chunk({}, finish="stop"), b"data: [DONE]\n\n")
    stream = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers=demo(other, "key-n"))
    meanwhile = await proxy.chat("demo/small", "hi")
    open_then = len(proxy.active)
    go_on.set()
    answer = await stream

    assert (meanwhile.status, other.keys_seen, open_then) == (200, ["key-n"], 2)
    assert (answer.text, answer.done) == ("abc", True)
    await until(lambda: len(proxy.active) == 1)
    await until(lambda: not upstream._tasks)  # which live as long as their connections


async def test_a_request_that_outlasts_the_shutdown_grace_gets_an_error(make_proxy, upstream):
    proxy = await make_proxy({"providers": demo(upstream, "key-a"), "server": {"shutdown_grace_s": 0.1}})
    upstream.says(chunk({"content": "a"}), "stall")
    stream = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers=demo(upstream, "key-b"))

    assert "server.shutdown_grace_s" in (await stream).error["message"]
    await until(lambda: len(proxy.active) == 1)


# --- What is wrong changes nothing ---------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"routing": {"selector": "nope"}}, "routing.selector"),
        ({"timeouts": {"idle_s": -1}}, "timeouts.idle_s"),
        ({"nonsense": {}}, "nonsense"),
        ({"plugins": {"required": ["missing"]}}, "missing"),
        ({"clients": {"a": {"key": "same-key"}, "b": {"key": "same-key"}}}, "clients.b.key"),
    ],
)
async def test_an_invalid_change_is_reported_and_changes_nothing(proxy, tables, said):
    before = proxy.proxy

    done = await proxy.reload(**tables)

    assert (done.reloaded, done.changed) == (False, ())
    assert any(said in problem for problem in done.problems)
    assert proxy.proxy is before
    assert (await proxy.chat("demo/small", "hi")).status == 200


async def test_what_needs_a_restart_is_named_and_the_rest_applies(proxy, upstream):
    done = await proxy.reload(
        server={"port": 1, "host": "127.0.0.1", "shutdown_grace_s": 1.0, "max_body_bytes": 2000}, log={"level": "debug"}
    )

    assert (done.reloaded, list(done.needs_restart)) == (True, ["server.port", "log.level"])
    assert (await proxy.chat("demo/small", "x" * 3000)).status == 413


async def test_two_at_once_come_one_after_the_other_and_none_when_stopping(proxy, upstream):
    done = await asyncio.gather(*(proxy.reload(providers=demo(upstream, f"key-{n}")) for n in range(4)))
    proxy.stop.set()
    refused = await proxy.reloader()

    assert [d.reloaded for d in done] == [True] * 4
    assert list(refused.problems) == ["the server is stopping"]


# --- What goes on --------------------------------------------------------------------------


async def test_cooldowns_counts_and_windows_follow_a_credential(proxy, upstream):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "30"})
    await proxy.chat("demo/small", "hi")

    await proxy.reload(providers=demo(upstream, "key-new", "key-b", "key-a"))
    ledger = proxy.proxy.pools["demo"].ledger
    used = {row.id: ledger.group("small").used.get(row.id, 0) for row in ledger.rows}

    assert 10 < proxy.cooldown_s("key-a") <= 30
    assert used == {fingerprint("key-new"): 0, fingerprint("key-b"): 1, fingerprint("key-a"): 1}


async def test_what_an_old_request_learns_is_known_to_the_new_set_at_once(patient, upstream):
    proxy, go_on = patient, asyncio.Event()
    upstream.for_key("key-a").says(go_on, status=429, headers={"retry-after": "40"})
    upstream.for_key("key-b").streams("hello")
    old = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers=demo(upstream, "key-b", "key-a"))
    at_work = proxy.proxy.pools["demo"].in_flight
    go_on.set()

    assert (await old).text == "hello"
    assert at_work == 1
    assert 20 < proxy.cooldown_s("key-a") <= 40
    await until(lambda: proxy.proxy.pools["demo"].in_flight == 0)


async def test_the_next_attempt_of_an_old_request_uses_no_credential_that_was_removed(proxy, upstream):
    go_on = asyncio.Event()
    upstream.for_key("key-a").says(go_on, status=429, headers={"retry-after": "40"})
    upstream.for_key("key-c").streams("hello")
    old = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers=demo(upstream, "key-c"))
    known = proxy.process.pools["demo"].ledger.known.keys()
    go_on.set()

    assert known == {fingerprint("key-a"), fingerprint("key-c")}
    assert (await old).text == "hello"
    assert upstream.keys_seen == ["key-a", "key-c"]
    await until(lambda: proxy.process.pools["demo"].ledger.known.keys() == {fingerprint("key-c")})


async def test_a_removed_provider_is_forgotten_once_its_last_request_is_done(proxy, upstream, other):
    go_on = asyncio.Event()
    upstream.says(chunk({"content": "a"}), go_on, chunk({"content": "b"}, finish="stop"), b"data: [DONE]\n\n")
    old = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers={"second": {"base_url": other.url, "api_keys": ["key-s"]}})
    meanwhile = proxy.process.pools.keys() - proxy.proxy.pools.keys()
    go_on.set()
    answer = await old
    await proxy.reload()

    assert meanwhile == {"demo"}
    assert answer.text == "ab"
    assert proxy.process.pools.keys() == proxy.proxy.pools.keys()


async def test_a_concurrency_limit_applies_to_old_and_new_requests(make_proxy, upstream):
    one_at_once, go_on = {"rotation": {"max_concurrent": 1}}, asyncio.Event()
    tables = {"providers": demo(upstream, "key-a", **one_at_once), "server": {"shutdown_grace_s": 30}}
    proxy = await make_proxy(tables)
    upstream.says(chunk({"content": "a"}), go_on, chunk({}, finish="stop"), b"data: [DONE]\n\n")
    upstream.responds()
    old = asyncio.create_task(proxy.chat("demo/small", "hi", stream=True))
    await until(lambda: upstream.requests)

    await proxy.reload(providers=demo(upstream, "key-a", exclude_models=["x"], **one_at_once))
    new = asyncio.create_task(proxy.chat("demo/small", "hi"))
    await asyncio.sleep(0.05)
    sent_meanwhile = len(upstream.requests)
    go_on.set()

    assert (await old).done
    assert (await new).status == 200
    assert (sent_meanwhile, len(upstream.requests)) == (1, 2)


async def test_conversations_keep_their_credential(make_proxy, upstream):
    routing = {"selector": "sticky"}
    proxy = await make_proxy({"providers": demo(upstream, "key-a", "key-b"), "routing": routing})
    for n in range(6):
        await proxy.chat("demo/small", "hi", user=None, session_id=f"s{n}")
    had = upstream.keys_seen

    await proxy.reload(providers=demo(upstream, "key-new", "key-b", "key-a"))
    for n in range(6):
        await proxy.chat("demo/small", "hi", session_id=f"s{n}")

    assert upstream.keys_seen[6:] == had


async def test_a_clients_budget_usage_metrics_and_explanations_go_on(make_proxy, upstream):
    clients = {"test": {"key": CLIENT_KEY, "requests_per_minute": 3}}
    tables = {"providers": demo(upstream, "key-a"), "clients": clients}
    proxy = await make_proxy(tables)
    first = await proxy.chat("demo/small", "hi")
    key = (proxy.proxy.loaded.data_dir / "admin.key").read_text().strip()
    root = proxy.url.removesuffix("/v1")

    await proxy.reload(
        providers=demo(upstream, "key-b"), clients={"test": {**clients["test"], "tokens_per_minute": 99}}
    )
    second, third, fourth = [await proxy.chat("demo/small", "hi") for _ in range(3)]
    headers = {"authorization": f"Bearer {key}"}
    told = await proxy.client.get(f"{root}/admin/explain/{first.headers['x-request-id']}", headers=headers)
    (status,) = (await proxy.client.get(f"{root}/admin/status", headers=headers)).json()["processes"]
    await asyncio.sleep(0.3)
    usage = (await proxy.get("/quota-stats")).json

    assert [a.status for a in (second, third, fourth)] == [200, 200, 429]
    assert told.status_code == 200
    assert sum(count["requests"] for count in status["requests"] if count["status"] == 200) == 3
    assert usage["summary"]["attempts"] == 3
    assert usage["summary"]["prompt"] == 9


# --- The real program ----------------------------------------------------------------------

FILE = """
[server]
port = 0
{server}
[clients.bob]
key = "{client}"
[routing]
max_wait_s = 1
[providers.demo]
base_url = "{url}"
api_keys = ["{key}"]
"""


def write(home, upstream, *, client="bobs-first-key", key="key-one", server=""):
    text = FILE.format(url=upstream.url, client=client, key=key, server=server)
    (home / "proxy-core.toml").write_text(text)


async def asked(program, client="bobs-first-key"):
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {client}"}) as http:
        return (await http.post(f"{program.url}/v1/chat/completions", json=body)).status_code


async def test_the_command_says_what_changed_and_what_is_wrong(home, upstream):
    write(home, upstream)
    async with serving(home) as program:
        assert await asked(program) == 200
        write(home, upstream, client="bobs-second-key", key="key-two", server="workers = 3")
        done = await run(home, "reload")
        statuses = await asked(program), await asked(program, "bobs-second-key")
        write(home, upstream, server="nonsense = 1")
        refused = await run(home, "reload")
        still = await asked(program, "bobs-second-key")

    assert done[0] == 0, done
    assert "changed: clients.bob.key" in done[1]
    assert "changed: providers.demo.api_keys" in done[1]
    assert "needs a restart: server.workers" in done[1]
    assert "second-key" not in done[1] + program.output
    assert statuses == (401, 200)
    assert upstream.keys_seen == ["key-one", "key-two", "key-two"]
    assert refused[0] == 1
    assert "server.nonsense" in refused[1]
    assert "nothing was changed" in refused[1]
    assert still == 200


async def test_secrets_in_files_are_read_again_and_are_nowhere_else(home, upstream):
    secrets = home / "secrets"
    secrets.mkdir()

    def write(client, key):
        (secrets / "proxy_api_key").write_text(f"{client}\n")
        (home / "demo.key").write_text(f"{key}\n")

    (home / "proxy-core.toml").write_text(
        f'[providers.demo]\nbase_url = "{upstream.url}"\napi_keys_file = "demo.key"\nmodels = ["small"]\n'
    )
    write("bobs-first-key", "demos-first-key")
    named = {"PROXY_SECRETS_DIR": str(secrets)}
    async with serving(home, **named) as program:
        before = await asked(program)
        write("bobs-second-key", "demos-second-key")
        done = await run(home, "reload", **named)
        after = await asked(program), await asked(program, "bobs-second-key")
        shown = await run(home, "config", "show", **named)
        (home / "demo.key").unlink()
        refused = await run(home, "reload", **named)
        still = await asked(program, "bobs-second-key")

    assert (before, after, still) == (200, (401, 200), 200)
    assert (done[0], "changed: clients.default.key" in done[1]) == (0, True), done
    assert upstream.keys_seen == ["demos-first-key", "demos-second-key", "demos-second-key"]
    assert refused[0] == 1
    assert "providers.demo.api_keys_file: " in refused[1]
    assert f"{secrets}/proxy_api_key for PROXY_API_KEY" in shown[1]
    assert not [word for word in ("-first-key", "-second-key") if word in program.output + shown[1] + done[1]]


async def test_a_secret_whose_link_leads_nowhere_keeps_the_settings(home, upstream):
    (home / "secrets").mkdir()
    (home / "secrets" / "demo_api_key").symlink_to(home / "demo.key")
    (home / "demo.key").write_text("demos-first-key\n")
    (home / "proxy-core.toml").write_text(
        f'[providers.demo]\nbase_url = "{upstream.url}"\nmodels = ["small"]\n[clients.bob]\nkey = "bobs-first-key"\n'
    )
    named = {"PROXY_SECRETS_DIR": str(home / "secrets"), "PROXY_CONFIG": str(home / "proxy-core.toml")}
    async with serving(home, **named) as program:
        (home / "demo.key").unlink()
        code, said = await run(home, "reload", **named)
        still = await asked(program)

    assert (code, still) == (1, 200), said
    assert f"PROXY_SECRETS_DIR: {home}/secrets/demo_api_key cannot be read" in said
    assert upstream.keys_seen == ["demos-first-key"]


async def test_sighup_says_in_the_log_what_came_of_it_and_hides_the_new_secrets(home, upstream, http_server):
    write(home, upstream)
    async with serving(home, "--server", http_server) as program:
        write(home, upstream, server="nonsense = 1")
        program.process.send_signal(signal.SIGHUP)
        await until(lambda: "nonsense" in program.output)
        assert "the previous settings remain in effect" in program.output
        write(home, upstream, client="bobs-second-key", key="key-very-secret")
        program.process.send_signal(signal.SIGHUP)
        await until(lambda: "settings reloaded; changed: clients.bob.key" in program.output)
        upstream.responds(429, {"error": {"message": "slow: key-very-secret", "code": "rate_limit_exceeded"}})
        await asked(program, "bobs-second-key")
        code, why = await run(home, "why", "demo/small")

    assert (code, "slow: [redacted]" in why) == (0, True), why
    assert not {"key-very-secret", "bobs-second-key"} & set(program.output.split())


async def test_a_settings_file_that_is_gone_changes_nothing(home, upstream):
    write(home, upstream)
    async with serving(home) as program:
        (home / "proxy-core.toml").rename(home / "aside")
        code, said = await run(home, "reload")
        still = await asked(program)
        (home / "aside").rename(home / "proxy-core.toml")
        again, _ = await run(home, "reload")

    assert (code, still, again) == (1, 200, 0)
    assert "proxy-core.toml: the settings file no longer exists" in said


@pytest.mark.slow
async def test_every_worker_reads_again_by_command_by_signal_and_over_http(home, upstream, http_server):
    write(home, upstream)
    folder = home / "data" / "proxy-core" / "run"
    async with serving(home, "--workers", "2", "--server", http_server) as program:
        await until(lambda: len(list(folder.glob("*.sock"))) == 2, 20)
        write(home, upstream, client="bobs-second-key")
        by_command = await run(home, "reload")
        after_command = {await asked(program, "bobs-second-key") for _ in range(8)}
        write(home, upstream, client="bobs-third-key")
        program.process.send_signal(signal.SIGHUP)
        await until(lambda: program.output.count("changed: clients.bob.key") == 4)
        after_signal = {await asked(program, "bobs-third-key") for _ in range(8)}
        write(home, upstream, client="bobs-fourth-key")
        key = (home / "data" / "proxy-core" / "admin.key").read_text().strip()
        async with httpx.AsyncClient() as http:
            reload = program.url + "/admin/reload"
            headers = {"authorization": f"Bearer {key}"}
            over_http = await http.post(reload, headers=headers)
            write(home, upstream, server="nonsense = 1")
            refused = await http.post(reload, headers=headers)
            stranger = await http.post(reload, headers={"authorization": "Bearer bobs-fourth-key"})
        victim = int(next(folder.glob("*.sock")).stem)
        write(home, upstream, client="bobs-fifth-key")
        os.kill(victim, signal.SIGKILL)
        await until(lambda: "starting another" in program.output)
        await until(lambda: len([s for s in folder.glob("*.sock") if s.stem != str(victim)]) == 2, 20)
        (young,) = [s for s in sorted(folder.glob("*.sock")) if s.stem not in by_command[1]]
        transport = httpx.AsyncHTTPTransport(uds=str(young))
        async with httpx.AsyncClient(transport=transport, headers={"authorization": "Bearer bobs-fifth-key"}) as http:
            later = await http.get("http://proxy-core/v1/providers")

    assert by_command[1].count("changed: clients.bob.key") == 2
    assert (after_command, after_signal) == ({200}, {200})
    assert [p["reloaded"] for p in over_http.json()["processes"]] == [True, True]
    assert refused.status_code == 409
    assert "nonsense" in refused.json()["error"]["message"]
    assert stranger.status_code == 401
    assert later.status_code == 200


async def test_what_the_command_line_said_still_holds(home):
    async with serving(home, "--demo") as program:
        (home / "proxy-core.toml").write_text('[clients.bob]\nkey = "bobs-own-key"\n')
        code, said = await run(home, "reload")
        status = await asked(program, "bobs-own-key")

    assert (code, status) == (0, 200), said
    assert "providers.demo" not in said


# --- Under load ----------------------------------------------------------------------------


@asynccontextmanager
async def load(proxy, clients):
    """Clients that ask, plain and streamed, until the block ends."""
    ended, answers = asyncio.Event(), []

    async def ask(streamed):
        while not ended.is_set():
            answers.append(await proxy.chat("demo/small", "hi", stream=streamed))

    async with asyncio.TaskGroup() as tasks:
        for n in range(clients):
            tasks.create_task(ask(bool(n % 2)))
        yield answers
        ended.set()


@pytest.mark.slow
async def test_no_request_fails_in_many_reloads_and_nothing_is_left(make_proxy, upstream):
    upstream.for_key("key-a").streams("a", "b", gap_s=0.01)
    # However busy the machine is, an old request has the time to end.
    patient = {"routing": {"max_wait_s": 5}, "server": {"shutdown_grace_s": 60}}
    proxy = await make_proxy({"providers": demo(upstream, "key-a"), **patient})
    done = []
    async with load(proxy, 32) as answers:
        for n in range(30):
            if n % 2:
                done.append(await proxy.reload(timeouts={"idle_s": -1}))
            else:
                done.append(
                    await proxy.reload(timeouts={"idle_s": 100 + n}, providers=demo(upstream, "key-a", f"k{n}"))
                )
            await asyncio.sleep(0.02)
    await until(lambda: len(proxy.active) == 1)
    gc.collect()
    kept = [o for o in gc.get_objects() if type(o) is Generation and o.services.usage is proxy.process.usage]

    assert [d.reloaded for d in done] == [True, False] * 15
    assert len(answers) > 100
    assert {a.status for a in answers} == {200}
    assert all(a.done and a.error is None for a in answers if a.events)
    assert len(upstream._tasks) <= 32, "each is a connection"
    assert kept == [proxy.proxy]
    assert sum(t.get_name() == "generation" for t in asyncio.all_tasks()) == 1
    assert proxy.proxy.pools["demo"].in_flight == 0
    assert not proxy.proxy.services.running.all
