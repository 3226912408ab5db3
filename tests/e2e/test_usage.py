"""What was used: counted as the upstream counted it, and shown."""

import asyncio
import csv
import io
import json

import httpx
import pytest
from click.testing import CliRunner

from proxy_core.state.usage import COUNTED, added
from proxy_core.testing import chunk, cut, fingerprint, serving, stall
from proxy_plugin_doctor import usage

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
PRICES = {"small": {"input_price": 1.0, "cached_price": 0.5, "output_price": 2.0}}
COST = (6 * 1.0 + 4 * 0.5 + 5 * 2.0) / 1e6
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def counting(make_proxy, upstream):
    """A proxy like the fixture ``proxy``, for two clients and with prices."""

    async def make(**tables):
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"], "models": PRICES}
        routing = {"selector": "sequential", "max_wait_s": 1, "attempts_per_credential": 2, "retry_delay_s": 0.01}
        clients = {"test": {"key": "test-client-key"}, "other": {"key": "other-client-key"}}
        settings = {"providers": {"demo": provider}, "clients": clients, **tables}
        return await make_proxy({**settings, "routing": routing | {"retry_jitter_s": 0} | tables.get("routing", {})})

    return make


async def used(proxy, requests=1):
    """What the store knows once it knows of so many requests: by credential, only what is not 0."""
    today, found, totals = proxy.proxy.services.clock.now().date(), [], {}
    async with asyncio.timeout(20):
        while sum(row.requests for row in found) < requests:
            await asyncio.sleep(0.02)
            found = await proxy.process.state.rows(today, today)
    for row in found:
        totals[row.credential] = added(totals[row.credential], row) if row.credential in totals else row
    names = {fingerprint("key-a"): "a", fingerprint("key-b"): "b", "": "nobody"}
    return {names[c]: {n: v for n in COUNTED if (v := getattr(row, n))} for c, row in totals.items()}


ONE = {"requests": 1, "attempts": 1}
TOKENS = {"prompt": 10, "cached": 4, "completion": 5, "cost": pytest.approx(COST), "priced": 1}


async def test_a_plain_request_and_a_stream_count_what_the_upstream_counted(counting, upstream):
    plain = {"object": "chat.completion", "choices": [{"message": {"content": "x"}}], "usage": USAGE}
    upstream.responds(json_body=plain)
    upstream.says(chunk({"content": "hi"}), chunk(finish="stop"), chunk(usage=USAGE), DONE)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    await proxy.chat("demo/small", "hi", stream=True)

    twice = {name: pytest.approx(2 * COST) if name == "cost" else 2 * n for name, n in TOKENS.items()}
    assert await used(proxy, 2) == {"a": {"requests": 2, "attempts": 2, **twice}}


async def test_embeddings_count(counting, upstream):
    reply = {"object": "list", "data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 7}}
    upstream.responds(json_body=reply)
    proxy = await counting()
    await proxy.post("/embeddings", {"model": "demo/small", "input": "a"})

    assert await used(proxy) == {"a": {**ONE, "prompt": 7, "cost": pytest.approx(7e-6), "priced": 1}}


async def test_a_rotated_request_counts_once_and_its_attempts_where_they_were_made(counting, upstream):
    upstream.for_key("key-a").responds(429)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")

    found = await used(proxy)
    assert found["a"] == {"attempts": 1, "failures": 1}
    assert found["b"] | {"cost": 0} == {**ONE, "prompt": 3, "completion": 2, "cost": 0, "priced": 1}


async def test_a_retried_request_counts_once(counting, upstream):
    upstream.for_key("key-a").responds(503)
    upstream.for_key("key-a").responds(200)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")

    assert (await used(proxy))["a"].items() >= {"requests": 1, "attempts": 2, "failures": 1, "prompt": 3}.items()


async def test_a_hedged_request_belongs_to_the_one_that_answered(counting, upstream):
    upstream.for_key("key-a").says(stall())
    proxy = await counting(routing={"hedge_after_s": 0.05})
    await proxy.chat("demo/small", "hi")

    found = await used(proxy)
    assert found["a"] == {"attempts": 1}
    assert found["b"].items() >= {"requests": 1, "attempts": 1, "prompt": 3, "priced": 1}.items()


async def test_the_clients_mistake_counts_as_a_request_without_tokens(counting, upstream):
    upstream.responds(400)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")

    assert await used(proxy) == {"a": {**ONE, "failures": 1, "priced": 1}}


async def test_requests_without_attempts_count_without_a_provider(counting, upstream):
    proxy = await counting()
    await proxy.chat("nope/small", "hi")
    await proxy.post("/chat/completions", {"model": "demo/small"})

    assert await used(proxy) == {"nobody": {"requests": 1, "priced": 1}}, "a body that is none is not a request"


async def test_a_cut_stream_counts_the_tokens_it_reported(counting, upstream):
    upstream.says(chunk({"content": "hi"}, usage=USAGE), cut())
    proxy = await counting()
    assert (await proxy.chat("demo/small", "hi", stream=True)).error

    assert await used(proxy) == {"a": {**ONE, **TOKENS}}


@pytest.mark.parametrize("told", [USAGE, None], ids=["usage in each event", "usage at the end"])
async def test_a_client_that_leaves_is_charged_for_the_usage_reported_so_far(counting, upstream, told):
    upstream.says(chunk({"content": "hi"}, usage=told), stall())
    proxy = await counting()
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "x"}], "stream": True}
    head = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream("POST", proxy.url + "/chat/completions", json=body, headers=head) as reply:
        async for _ in reply.aiter_bytes():
            break

    assert await used(proxy) == {"a": {**ONE, **(TOKENS if told else {})}}


async def test_the_operator_reads_the_usage_of_some_days_over_http(counting, upstream):
    upstream.responds(
        json_body={"object": "chat.completion", "choices": [{"message": {"content": "x"}}], "usage": USAGE}
    )
    proxy = await counting(admin={"key": "the-admin-key"})
    await proxy.chat("demo/small", "hi")
    await used(proxy)
    today = f"{proxy.proxy.services.clock.now():%Y-%m-%d}"

    async def ask(days):
        return (await proxy.get(f"/../admin/usage{days}", key="the-admin-key")).json

    (row,) = (await ask(""))["usage"]
    assert (row["day"], row["client"], row["model"], row["credential"]) == (
        today,
        "test",
        "small",
        fingerprint("key-a"),
    )
    assert {name: row[name] for name in TOKENS} == TOKENS
    assert await ask(f"?since={today}&until={today}") == {"usage": [row]}
    assert await ask("?since=2020-01-01&until=2020-01-02") == {"usage": []}
    assert (await ask("?since=yesterday"))["error"]["param"] == "since"


async def test_quota_stats_show_usage_and_cooldowns(counting, upstream):
    upstream.for_key("key-a").responds(
        429, {"error": {"message": "words of the upstream"}}, headers={"retry-after": "90"}
    )
    proxy = await counting()
    await proxy.chat("demo/small", "the-prompt")
    await used(proxy)
    both = [await proxy.get(path) for path in ("/quota-stats", "/../quota-stats", "/quota-stats?provider=demo")]
    stats = both[0].json
    a, b = (stats["providers"]["demo"]["credentials"][fingerprint(key)] for key in ("key-a", "key-b"))

    assert [answer.status for answer in both] == [200] * 3
    assert both[2].json["providers"].keys() == {"demo"}
    assert stats["summary"].items() >= {"requests": 1, "attempts": 2, "failures": 1, "prompt": 3}.items()
    assert stats["providers"]["demo"]["models"]["small"]["attempts"] == 2
    assert stats["providers"]["demo"].items() >= {"credential_count": 2, "cooling_down_count": 1, "requests": 1}.items()
    assert (a["failures"], a["requests"], b["requests"]) == (1, 0, 1)
    assert [window["cooldown"]["failures"] for window in a["windows"].values()] == [1]
    assert (stats["days"], stats["problem"]) == (30, None)
    for secret in (b"key-a", b"key-b", b"client-key", b"state-secret", b"the-prompt", b"words of"):
        assert secret not in both[0].body


async def test_quota_stats_have_what_the_old_proxys_viewers_read(counting, upstream):
    upstream.for_key("key-a").responds(429, {"error": {"message": "x"}}, headers={"retry-after": "90"})
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    await used(proxy)

    stats = (await proxy.get("/quota-stats")).json

    demo, summary = stats["providers"]["demo"], stats["summary"]
    a, b = (demo["credentials"][fingerprint(key)] for key in ("key-a", "key-b"))
    tokens = {"input_cached": 0, "input_uncached": 3, "input_cache_pct": 0, "output": 2}
    assert summary.items() >= {"total_credentials": 2, "total_requests": 1, "tokens": tokens}.items()
    assert (demo["provider"], demo["rotation_mode"], demo["total_requests"]) == ("demo", demo["selector"], 1)
    assert (demo["active_count"], demo["exhausted_count"], demo["tokens"]) == (1, 1, tokens)
    assert (a["status"], b["status"]) == ("exhausted", "active")
    assert a["cooldowns"]["small"]["remaining_seconds"] == pytest.approx(90, abs=30)
    assert (
        b["totals"].items() >= {"request_count": 1, "success_count": 1, "prompt_tokens": 3, "output_tokens": 2}.items()
    )
    assert b["model_usage"]["small"]["totals"] == b["totals"]
    assert b["group_usage"]["small"]["windows"]["quota"]["request_count"] == 1
    assert (a["stable_id"], a["identifier"]) == (fingerprint("key-a"), a["label"])


async def test_quota_stats_can_be_asked_to_refresh(counting, upstream):
    upstream.responds()
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    await used(proxy)
    one = fingerprint("key-a")

    async def ask(**body):
        return await proxy.post("/quota-stats", body)

    everything, single = (
        await ask(action="reload"),
        await ask(action="force_refresh", scope="credential", provider="demo", credential=one),
    )

    assert everything.json["summary"]["total_requests"] == 1
    assert everything.json["refresh_result"].items() >= {"action": "reload", "scope": "all", "success": True}.items()
    assert single.json["providers"]["demo"]["credentials"].keys() == {one}
    assert single.json["refresh_result"]["success"] is False, "nothing was asked, and it says so"
    wrong = [{}, {"action": []}, {"action": "reload", "scope": "x"}, {"action": "reload", "scope": "provider"}]
    wrong += [
        {"action": "reload", "scope": "credential", "provider": "demo", "credential": bad} for bad in ("x", [], None)
    ]
    wrong += [{"action": "reload", "scope": "provider", "provider": "nope"}]
    assert [(await ask(**body)).status for body in wrong] == [400] * len(wrong)


async def test_how_much_is_known_of_models(counting):
    proxy = await counting()

    answer = await proxy.get("/model-info/stats")

    assert answer.status == 200
    assert answer.json.keys() == {"ready", "models", "described", "sources"}
    assert (await proxy.get("/model-info/stats", key="wrong")).status == 401


async def test_quota_stats_need_a_key_and_a_provider_that_exists(counting):
    proxy = await counting()

    assert (await proxy.get("/quota-stats", key="wrong")).status == 401
    wrong = await proxy.get("/quota-stats?provider=nope")
    assert (wrong.status, wrong.error["param"]) == (400, "provider")


@pytest.mark.parametrize("fails", ["raises", "hangs"])
async def test_quota_stats_answer_without_a_store(counting, monkeypatch, fails):
    async def rows(since, until):
        if fails == "raises":
            raise OSError("the disk is gone")
        await asyncio.sleep(60)

    proxy = await counting()
    monkeypatch.setattr("proxy_core.state.shared._STATISTICS_S", 0.1)
    monkeypatch.setattr(type(proxy.process.state), "rows", staticmethod(rows))
    answer = await proxy.get("/quota-stats")

    assert answer.status == 200
    assert answer.json["summary"]["requests"] == 0
    assert answer.json["providers"]["demo"]["credential_count"] == 2


def command(folder, *arguments, **variables):
    """``proxy-core usage``: its exit code and what it printed."""
    names = {"PROXY_DATA_DIR": str(folder / "data"), "HOME": str(folder), **variables}
    result = CliRunner().invoke(usage.command, arguments, env=names)
    return result.exit_code, result.output


async def test_the_command_shows_usage_while_the_proxy_runs_and_afterwards(home, upstream, monkeypatch):
    monkeypatch.chdir(home)
    upstream.responds()
    names = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url, "DEMO_API_KEY": "key-a"}
    body = {"model": "demo/small\u001b[31m", "messages": [{"role": "user", "content": "hi"}]}
    head = {"authorization": "Bearer some-key"}
    async with (
        serving(home, PROXY_DATA_DIR=str(home / "data"), **names) as program,
        httpx.AsyncClient() as client,
    ):
        await client.post(f"{program.url}/v1/chat/completions", json=body, headers=head, timeout=20)
        await asyncio.sleep(0.5)
        _, running = await asyncio.to_thread(command, home, "--json", "--by", "client,provider,credential")
        ahead = [await asyncio.to_thread(command, home, "--forecast", *how) for how in ([], ["--json"], ["--csv"])]
        await client.post(f"{program.url}/v1/chat/completions", json=body, headers=head, timeout=20)

    shown = [
        ("--by", "client,model", "--since", "7d", "--until", "today"),
        ("--csv", "--by", "day,client"),
        ("--client", "somebody"),
    ]
    table, as_csv, nobody = [(await asyncio.to_thread(command, home, *arguments))[1] for arguments in shown]

    [row] = json.loads(running)
    assert row.items() >= {"client": "default", "provider": "demo", "requests": 1, "attempts": 1}.items()
    assert row.items() >= {"prompt": 3, "completion": 2, "cost": 0.0, "priced": 0}.items()
    assert len(row["credential"]) == 10
    assert [line.split()[:1] for line in table.splitlines()] == [["client"], ["default"]]
    assert "\x1b" not in table
    assert "completion" in table and "reasoning" not in table, "a column without any count is left out"
    [line] = csv.DictReader(io.StringIO(as_csv))
    assert (line["client"], line["requests"], line["prompt"]) == ("default", "2", "6"), "a stop loses nothing"
    assert nobody == "no usage in this period\n"
    assert [code for code, _ in ahead] == [0, 0, 0]
    assert ahead[0][1].splitlines()[1].split()[:5] == ["demo", "DEMO_API_KEY", "small", "[31m", "1"]
    assert json.loads(ahead[1][1])[0].items() >= {"provider": "demo", "used": 1, "empty_at": None}.items()
    assert next(csv.DictReader(io.StringIO(ahead[2][1])))["used"] == "1"
    code, told = await asyncio.to_thread(command, home, "--forecast")
    assert (code, "no running proxy" in told) == (1, True)


MISTAKES = [
    (["--by", "color"], "'color' is not one of day, client"),
    (["--since", "yesterday"], "write a day as"),
    (["--until", "0d"], "write a day as"),
    (["--since", "9999999999d"], "write a day as"),
    (["--until", "2020-01-01"], "is after --until 2020-01-01"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_reported_in_one_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, output = command(tmp_path, *arguments)

    assert code == 2
    assert words in output.splitlines()[-1]
    assert "Traceback" not in output


def test_the_command_needs_no_store_and_tells_of_one_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert command(tmp_path) == (0, "no usage in this period\n")
    assert command(tmp_path, "--json") == (0, "[]\n")
    memory = command(tmp_path, PROXY_STATE__URL="memory:")
    nowhere = command(tmp_path, PROXY_STATE__URL="sqlite:////proc/nowhere/state.db")
    assert (memory[0], nowhere[0]) == (1, 1)
    assert "in memory only" in memory[1]
    assert "cannot be read" in nowhere[1]
