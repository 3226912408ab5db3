"""State behind a proxy: what survives, and what happens when the store is slow, broken, damaged, locked or gone."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime

import httpx
import pytest
from benchmarks.shared_run import Seen, load, settings, used

from proxy_core import StateLost, StateStore
from proxy_core.state.memory import MemoryState
from proxy_core.testing import plugin_with, run, serving

CLIENT = {"authorization": "Bearer some-client-key"}


class Moody(MemoryState):
    """A store that sleeps or raises when told to."""

    def __init__(self):
        super().__init__()
        self.sleeps_s, self.raises, self.syncs = 0.0, None, 0

    async def sync(self, push):
        self.syncs += 1
        await asyncio.sleep(self.sleeps_s)
        if self.raises is not None:
            raise self.raises
        return await super().sync(push)


@pytest.fixture
def moody():
    return Moody()


@pytest.fixture
def with_store(make_proxy, upstream, moody):
    async def start(disabled=(), **state):
        async def open_it(url):
            return moody

        plugin = plugin_with(proxy_state_stores=[StateStore(scheme="moody", open=open_it)])
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
        tables = {"providers": {"demo": provider}, "routing": {"selector": "sequential"}}
        secret = {"url": "moody:", "secret": "s", **state}
        off = {"plugins": {"disabled": list(disabled)}} if disabled else {}
        return await make_proxy({**tables, **off, "state": secret}, modules=[plugin])

    return start


async def ready(client, url, headers=None):
    return (await client.get(f"{url}/readyz", headers=headers)).json()


async def until(question, within_s=20.0):
    """Its answer, as soon as it is true."""
    async with asyncio.timeout(within_s):
        while not (answer := await question()):
            await asyncio.sleep(0.03)
    return answer


async def counted(state):
    today = time.gmtime()
    rows = await state.usage(
        __import__("datetime").date(2020, 1, 1), __import__("datetime").date(today.tm_year + 1, 1, 1)
    )
    return sum(row.requests for row in rows), sum(row.prompt for row in rows)


# --- A store that sleeps, a store that raises ---------------------------------------------


async def test_a_store_that_sleeps_is_not_waited_for_by_requests_and_not_long_by_the_start(with_store, moody, upstream):
    moody.sleeps_s = 60
    began = time.monotonic()
    proxy = await with_store()
    assert time.monotonic() - began < 20
    await proxy.chat("demo/small", "warm")
    took = []
    for _ in range(20):
        began = time.monotonic()
        answer = await proxy.chat("demo/small", "hi")
        took.append(upstream.last.at - began)
        assert answer.status == 200
    assert max(took) < 10
    assert min(took) < 0.02
    moody.sleeps_s = 0
    proxy.process.state._wake.set()


@pytest.mark.parametrize(
    "error", [OSError("no route"), ValueError("odd"), StateLost("gone")], ids=lambda e: type(e).__name__
)
async def test_a_store_that_raises_costs_no_request_is_reported_and_catches_up(with_store, moody, error):
    proxy = await with_store()
    base = proxy.url.removesuffix("/v1")
    await proxy.chat("demo/small", "hi")
    moody.raises = error
    assert [(await proxy.chat("demo/small", "hi")).status for _ in range(20)] == [200] * 20

    async def degraded():
        return (await ready(proxy.client, base, {"authorization": f"Bearer {proxy.key}"}))["problems"]

    [problem] = await until(degraded)
    assert (await ready(proxy.client, base))["problems"] == ["state store"], "who has no key learns no more"
    assert problem.startswith("state store: ")
    assert str(error) in problem
    moody.raises = None
    await until(lambda: _fine(proxy.client, base))
    await proxy.chat("demo/small", "hi")

    async def all_of_it():
        return await counted(moody) == (22, 66)

    await until(all_of_it)


async def _fine(client, base):
    return (await ready(client, base))["status"] == "ok"


async def test_what_makes_no_sense_in_a_store_ends_nothing(with_store, moody, upstream):
    from proxy_core.testing.state_peer import Peer, count, shared

    peer = Peer(moody, "other")
    proxy = await with_store()
    names = ["x", "state", "state/demo", "state/demo/%", "session/demo/x", "client/x", "used/demo", "client/a/b/c"]
    await peer.sync(values={name: shared(b"\xff{") for name in names}, counts={name: count(1) for name in names})
    await asyncio.sleep(0.3)
    await proxy.chat("demo/small", "hi")

    async def counts():
        return (await counted(moody))[0] == 1

    await until(counts)


async def test_a_refused_key_is_told_alike_after_a_restart(with_store, moody, upstream):
    upstream.responds(401, {"error": {"message": "Incorrect API key provided: key-a."}})
    first = await with_store(disabled=["redaction"])
    await first.chat("demo/small", "hi")
    told = await first.chat("demo/small", "hi")
    first.process.state._wake.set()

    async def shared():
        return any(name.startswith("state/demo/") for name in moody._values)

    await until(shared)
    second = await with_store(disabled=["redaction"])
    seen = len(upstream.requests)
    again = await second.chat("demo/small", "hi")

    assert len(upstream.requests) == seen
    assert (again.status, again.json["error"]["message"]) == (403, told.json["error"]["message"])


async def test_every_quota_window_is_shared_through_the_store_and_so_survives_a_restart(make_proxy, upstream, tmp_path):
    """Windows that begin with a request: their ends are stored, for the clock does not tell them."""
    rotation = {
        "quota_window_s": 18_000,
        "quota_window_begins": "first_request",
        "windows": [{"name": "weekly", "length_s": 604_800, "begins": "first_request"}],
        "caps": [{"limit": 3}, {"limit": 4, "window": "weekly"}],
    }
    settings = {
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"], "rotation": rotation}},
        "state": {"url": f"sqlite:///{tmp_path / 'shared.db'}", "secret": "s"},
    }

    def ends(proxy):
        groups = proxy.proxy.pools["demo"].ledger.groups
        return {name: [window.resets_at for window in group.windows.values()] for name, group in groups.items()}

    def used(proxy):
        return {name: group.used for name, group in proxy.proxy.pools["demo"].ledger.groups.items()}

    one = await make_proxy(settings)
    await one.chat("demo/small", "hi")
    await one.chat("demo/small", "hi")
    other = await make_proxy(settings)

    async def shared():
        return used(other).keys() >= {"small", "small (weekly)"} and used(other) == used(one)

    await until(shared)
    assert all(ends(other)[name] == pytest.approx(at, abs=5) for name, at in ends(one).items())
    assert (await other.chat("demo/small", "hi")).status == 200
    assert (await other.chat("demo/small", "hi")).status == 429


@pytest.mark.parametrize("end", ["fixed", "moving"])
async def test_a_quota_that_the_provider_reports_survives_a_restart_and_is_known_to_all(
    make_proxy, upstream, tmp_path, end
):
    settings = {
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}},
        "state": {"url": f"sqlite:///{tmp_path / 'shared.db'}", "secret": "s"},
    }
    for number in range(1, 7):
        reset = 5400 if end == "fixed" else 5400 + 20 * number
        limits = {"limit": "100", "remaining": str(100 - 2 * number), "reset": f"{reset}s"}
        headers = {f"x-ratelimit-{name}-requests": value for name, value in limits.items()}
        upstream.responds(headers=headers, json_body={"choices": [{"message": {"content": "x"}}]})

    def used(proxy):
        groups = proxy.proxy.pools["demo"].ledger.groups.values()
        return [used for group in groups for used in group.used.values()]

    one, other = await make_proxy(settings), await make_proxy(settings)
    for _ in range(6):
        await one.chat("demo/small", "hi")

    async def known(proxy):
        return used(proxy) == [12]

    assert used(one) == [12]
    await until(lambda: known(other))
    restarted = await make_proxy(settings)
    await until(lambda: known(restarted))


async def test_the_forecast_is_that_of_all_processes_and_survives_a_restart(make_proxy, upstream, tmp_path):
    rotation = {
        "quota_window_begins": "first_request",
        "windows": [{"name": "weekly", "length_s": 604_800, "begins": "first_request"}],
        "caps": [{"limit": 20}, {"limit": 100_000, "window": "weekly"}],
    }
    settings = {
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"], "rotation": rotation}},
        "state": {"url": f"sqlite:///{tmp_path / 'shared.db'}", "secret": "s"},
        "admin": {"key": "the-admin-key"},
    }

    async def quotas(proxy):
        (status,) = (await proxy.get("/../admin/status", key="the-admin-key")).json["processes"]
        (credential,) = next(one for one in status["providers"] if one["name"] == "demo")["credentials"]
        return {quota["name"]: quota for quota in credential["quotas"]}

    one, other = await make_proxy(settings), await make_proxy(settings)
    for proxy in (one, one, other):
        await proxy.chat("demo/small", "hi")

    async def shared():
        found = [quota for proxy in (one, other) for quota in (await quotas(proxy)).values()]
        paces = {quota["per_hour"] for quota in found}  # two, if a minute ends in between
        return {quota["used"] for quota in found} == {3} and len(paces) == 1 and paces

    (per_hour,) = await until(shared)
    restarted = await quotas(await make_proxy(settings))

    assert 9 <= per_hour <= 18  # less than 18 if ten minutes of the clock end meanwhile
    assert restarted.keys() == {"small", "small (weekly)"}
    assert all(quota["per_hour"] == pytest.approx(per_hour, rel=0.15) for quota in restarted.values())
    assert (restarted["small"]["cap"], restarted["small (weekly)"]["cap"]) == (20, 100_000)
    assert restarted["small"]["empty_at"] is not None
    assert restarted["small (weekly)"]["empty_at"] is None


async def test_a_store_that_cannot_forget_old_usage_ends_nothing(with_store, moody):
    async def forget(before):
        raise OSError("locked")

    moody.forget_usage = forget
    proxy = await with_store()
    await proxy.chat("demo/small", "hi")

    async def counts():
        return (await counted(moody))[0] == 1

    await until(counts)


# --- The real program, stopped and killed --------------------------------------------------


async def chat(client, program, text="hi"):
    body = {"model": "demo/small", "messages": [{"role": "user", "content": text}]}
    return await client.post(f"{program.url}/v1/chat/completions", json=body, headers=CLIENT, timeout=20)


async def why(home, variables):
    _, output = await run(home, "why", "demo/small", "--json", **variables)
    [process] = json.loads(output)
    return process["deployments"][0]["credentials"]


async def test_a_restart_by_signal_loses_nothing(home, upstream):
    variables = settings(upstream.url, ["key-a", "key-b", "key-c"], 0, PROXY_ROUTING__SELECTOR="sticky")
    said = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    upstream.for_key("key-a").responds(429, said, headers={"retry-after": "900"})
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:
        texts = [f"conversation {n}" for n in range(8)]
        first = [(await chat(client, program, text)).headers["x-proxy-credential"] for text in texts]
        before = await why(home, variables)
    usage = await used(home, variables)
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:
        after = await why(home, variables)
        again = [(await chat(client, program, text)).headers["x-proxy-credential"] for text in texts]
    assert usage["requests"] == 8
    assert usage["attempts"] == len([r for r in upstream.requests if "chat" in r.path]) - 8
    assert (await used(home, variables))["requests"] == 16
    assert again == first
    assert [c["state"] for c in after] == [c["state"] for c in before]
    assert after[0]["cooldowns"][0]["code"] == "rate_limit_exceeded"
    assert [c["used"] for c in after] == [c["used"] for c in before]
    assert sum(c["used"] for c in after) > 0


async def test_an_open_circuit_breaker_survives_a_restart(home, upstream):
    variables = settings(
        upstream.url, ["key-a"], 0, PROXY_ROUTING__CIRCUIT_BREAKER_FAILURES="1", PROXY_ROUTING__MAX_WAIT_S="0.2"
    )
    upstream.responds(503, headers={"retry-after": "120"})
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:
        await chat(client, program)
    asked = len(upstream.requests)
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:
        reply = await chat(client, program)
    assert reply.status_code in (429, 503)
    assert len(upstream.requests) == asked


@pytest.mark.slow
async def test_a_kill_under_load_loses_at_most_the_last_second_and_corrupts_nothing(home, counting):
    variables = settings(counting.url, ["key-a"], 0)
    async with serving(home, **variables) as program:
        port = int(program.url.rpartition(":")[2])
        seen, stop = Seen(), asyncio.Event()
        loading = asyncio.create_task(load(lambda: [port], 16, stop, seen))
        await asyncio.sleep(1.2)
        program.process.send_signal(signal.SIGKILL)
        await program.process.wait()
        stop.set()
        await loading
    usage = await used(home, variables)
    assert 0 <= counting.served.total() - usage["requests"] <= seen.last_second
    with sqlite3.connect(home / "data/proxy-core/state.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


# --- Its file: damaged, deleted, locked, read-only ----------------------------------------


@pytest.mark.slow
async def test_a_damaged_deleted_or_locked_file_costs_no_request_and_is_recovered_from(home, counting):
    variables = settings(counting.url, ["key-a"], 0)
    file = home / "data/proxy-core/state.db"
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:

        async def degraded():
            assert (await chat(client, program)).status_code == 200
            return (await ready(client, program.url, CLIENT))["problems"]

        async def fine():
            assert (await chat(client, program)).status_code == 200
            return await _fine(client, program.url)

        async def in_file():
            return (await used(home, variables))["requests"]

        await until(fine)
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        [problem] = await until(degraded)
        assert "locked" in problem
        blocker.execute("ROLLBACK")
        blocker.close()
        await until(fine)
        await asyncio.sleep(0.5)
        assert await in_file() == counting.served.total(), "what came while it was locked is told then"

        for name in (file.name, file.name + "-wal", file.name + "-shm"):
            file.with_name(name).unlink(missing_ok=True)
        gone = counting.served.total()
        await until(fine)
        await until(lambda: _exists(file))
        await chat(client, program)
        await until(fine)
        await asyncio.sleep(0.5)
        assert await in_file() >= counting.served.total() - gone

        for name in (file.name, file.name + "-wal"):
            with open(file.with_name(name), "r+b") as damaged:
                damaged.write(os.urandom(64 * 1024))
        code, told = await run(home, "usage", **variables)  # whoever reads first finds out
        assert "Traceback" not in told
        await until(lambda: _aside(file, degraded))
        await until(fine)
        since = counting.served.total()
        await chat(client, program)
        await asyncio.sleep(0.5)
        assert await in_file() >= counting.served.total() - since
        code, output = await run(home, "usage", **variables)
        assert code == 0, output
    assert "continuing with the state in memory" in program.output
    assert "works again" in program.output


async def _exists(file):
    return file.exists()


async def _aside(file, ask):
    await ask()
    return list(file.parent.glob("state.db.damaged-*"))


async def test_a_start_with_an_unusable_file_serves_and_says_so(home, counting):
    variables = settings(counting.url, ["key-a"], 0)
    file = home / "data/proxy-core/state.db"
    file.mkdir(parents=True)
    async with serving(home, **variables) as program, httpx.AsyncClient() as client:
        assert (await chat(client, program)).status_code == 200
        assert (await ready(client, program.url))["status"] == "degraded"
        file.rmdir()
        await until(lambda: _fine(client, program.url))
    assert (await used(home, variables))["requests"] == 1


# --- What a store can never accept --------------------------------------------------------


class Picky(Moody):
    """Rejects every request that has the usage of one model in it."""

    async def sync(self, push):
        if any(row.model == "odd" for row in push.usage):
            raise OverflowError("too large")
        return await super().sync(push)


@pytest.mark.parametrize("moody", [Picky()])
async def test_of_what_a_store_rejects_only_the_row_is_lost_and_the_log_says_which(with_store, moody, upstream, caplog):
    proxy = await with_store(sync_interval_s=0.01)
    models = [f"m{n}" for n in range(40)]

    await asyncio.gather(*(proxy.chat(f"demo/{model}", "hi") for model in (*models[:20], "odd", *models[20:])))

    async def all_there():
        return (await counted(moody))[0] == len(models)

    await until(all_there)
    await proxy.chat("demo/later", "hi")
    await until(lambda: counted_is(moody, len(models) + 1))
    (line,) = [record.getMessage() for record in caplog.records if "rejected" in record.getMessage()]
    assert line == "the state store rejected usage of test at demo/odd, which is lost"


async def counted_is(state, requests):
    return (await counted(state))[0] == requests


ABSURD = [10**400, 2**64, 1e308, "9" * 400, -5, True, None, [], {"a": 1}, "NaN", 10**18]


@pytest.mark.parametrize("number", ABSURD, ids=range(len(ABSURD)))
@pytest.mark.parametrize("stream", [False, True])
async def test_an_absurd_number_in_usage_stops_neither_metrics_nor_the_counting(make_proxy, upstream, number, stream):
    provider = {"base_url": upstream.url, "models": {"m": {"input_price": 1, "output_price": 1}}}
    proxy = await make_proxy({"providers": {"demo": provider}, "admin": {"key": "the-admin-key"}})
    fields = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage = {**dict.fromkeys(fields, number), "prompt_tokens_details": {"cached_tokens": number}}
    if stream:
        upstream.streams("hi", usage=usage)
    else:
        upstream.responds(json_body={"choices": [{"message": {"content": "hi"}}], "usage": usage})

    for _ in range(3):
        assert (await proxy.chat("demo/m", "hi", stream=stream)).status == 200
    metrics = await proxy.get("/../metrics", key="the-admin-key")
    today = datetime.now(UTC).date()
    proxy.process.state.wake()

    async def stored():
        return sum(row.requests for row in await proxy.process.state.rows(today, today)) == 3

    await until(stored)
    (row,) = await proxy.process.state.rows(today, today)
    assert metrics.status == 200
    assert 0 <= row.prompt <= 3 * 10**12
    assert proxy.process.state.problem is None
