"""The operator searches the recent requests of all workers, and reads the usage and what models cost."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from proxy_core import RequestRecord
from proxy_core.records.search import STEP, grouped
from proxy_core.testing.program import serving
from proxy_core.testing.proxy import CLIENT_KEY, fingerprint

ADMIN = "the-admin-key"
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000}


@pytest.fixture
async def busy(make_proxy, upstream):
    """A proxy that has served two clients, with a model that nobody serves last; ``ask`` below ``/admin``."""
    demo = {"base_url": upstream.url, "api_keys": ["key-a"], "models": {"small": {"input_price": 1, "output_price": 2}}}
    clients = {"laptop": {"key": CLIENT_KEY}, "phone": {"key": "key-of-the-phone"}}
    proxy = await make_proxy({"admin": {"key": ADMIN}, "clients": clients, "providers": {"demo": demo}})
    upstream.for_key("key-a").streams("hel", "lo", usage=USAGE)
    upstream.for_key("key-a").responds(400)
    assert (await proxy.chat("demo/small", "hi", stream=True)).text == "hello"
    assert (await proxy.chat("demo/large", "hi")).status == 400
    body = {"model": "nowhere/x", "messages": [{"role": "user", "content": "hi"}]}
    assert (await proxy.post("/chat/completions", body, key="key-of-the-phone")).status == 404

    async def ask(path, **query):
        headers = {"authorization": f"Bearer {ADMIN}"}
        return await proxy.client.get(f"{proxy.url.removesuffix('/v1')}/admin{path}", params=query, headers=headers)

    async with asyncio.timeout(10):  # a request is recorded after its response
        while (await found(ask))["kept"] < 3:
            await asyncio.sleep(0.005)
    return ask


async def found(ask, **query):
    (process,) = (await ask("/requests", **query)).json()["processes"]
    return process


async def test_the_newest_request_is_first_and_has_its_cost(busy):
    process = await found(busy)

    assert (process["kept"], process["matched"]) == (3, 3)
    assert [request["model"] for request in process["requests"]] == ["-", "demo/large", "demo/small"]
    assert process["requests"][-1]["cost"] == pytest.approx(2.0)
    assert process["requests"][0]["cost"] is None
    assert process["groups"] == []


@pytest.mark.parametrize(
    ("query", "models"),
    [
        ({"client": "phone"}, ["-"]),
        ({"client": "phon"}, []),
        ({"model": "demo/small"}, ["demo/small"]),
        ({"deployment": "demo"}, ["demo/large", "demo/small"]),
        ({"deployment": "demo/large"}, ["demo/large"]),
        ({"credential": fingerprint("key-a")}, ["demo/large", "demo/small"]),
        ({"outcome": "completed"}, ["demo/small"]),
        ({"status": "4xx"}, ["-", "demo/large"]),
        ({"status": "200"}, ["demo/small"]),
        ({"q": "DEMO laptop"}, ["demo/large", "demo/small"]),
        ({"q": "failed phone"}, ["-"]),
        ({"q": "nothing of the kind"}, []),
        ({"since": "2999-01-01"}, []),
        ({"before": "1000"}, []),
        ({"after": "1000", "q": "large"}, ["demo/large"]),
        ({"after": "99999999999"}, []),
        ({"limit": "1"}, ["-"]),
        ({"limit": "0"}, []),
    ],
)
async def test_a_search_finds(busy, query, models):
    assert [request["model"] for request in (await found(busy, **query))["requests"]] == models


async def test_a_list_goes_on_before_its_last_request(busy):
    newest = (await found(busy, limit=1))["requests"][0]
    ended = datetime.fromisoformat(newest["started_at"]).timestamp() + newest["duration_s"]
    older = await found(busy, limit=1, before=ended)

    assert [request["model"] for request in older["requests"]] == ["demo/large"]


async def test_how_long_requests_took_by_client_and_model(busy):
    groups = (await found(busy, by="client,model", limit=0))["groups"]
    (answered,) = [group for group in groups if group["model"] == "small"]
    (refused,) = [group for group in groups if group["model"] == "large"]

    assert (answered["client"], answered["requests"], answered["failed"]) == ("laptop", 1, 0)
    assert sum(answered["durations"].values()) == sum(answered["first_events"].values()) == 1
    assert (refused["failed"], refused["durations"]) == (1, {})


async def test_usage_by_day_and_client(busy):
    today, rows = datetime.now(UTC).date(), []
    async with asyncio.timeout(10):
        while not rows:
            rows = (await busy("/usage", by="client,model")).json()["usage"]
    (answered,) = [row for row in rows if row["model"] == "small"]

    assert (answered["client"], answered["requests"], answered["prompt"]) == ("laptop", 1, 1_000_000)
    assert answered["cost"] == pytest.approx(2.0)
    assert (await busy("/usage", since="2001-01-01", until="2001-01-02")).json() == {"usage": []}
    by_day = (await busy("/usage", since=(today - timedelta(days=1)).isoformat(), by="day")).json()["usage"]
    assert [row["day"] for row in by_day] in ([today.isoformat()], [(today - timedelta(days=1)).isoformat()])


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/requests", {"limit": "201"}, "limit"),
        ("/requests", {"limit": "many"}, "limit"),
        ("/requests", {"limit": "nan"}, "limit"),
        ("/requests", {"before": "noon"}, "before"),
        ("/requests", {"after": "noon"}, "after"),
        ("/requests", {"by": "client,colour"}, "by"),
        ("/requests", {"since": "yesterday"}, "since"),
        ("/usage", {"since": "yesterday"}, "since"),
        ("/usage", {"by": "colour"}, "by"),
    ],
)
async def test_what_cannot_be_asked_is_said(busy, path, query, param):
    refused = await busy(path, **query)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_it_is_for_the_operator_only(busy, make_proxy):
    proxy = await make_proxy({"admin": {"key": ADMIN}})
    for path in ("/requests", "/usage", "/models"):
        url = f"{proxy.url.removesuffix('/v1')}/admin{path}"
        assert (await proxy.client.get(url, headers={"authorization": f"Bearer {proxy.key}"})).status_code == 401


async def test_why_a_provider_gives_no_list_of_models(make_proxy, upstream):
    upstream.for_path("/models").responds(403)
    demo = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"admin": {"key": ADMIN}, "providers": {"demo": demo}})
    await proxy.get("/models")
    url, headers = f"{proxy.url.removesuffix('/v1')}/admin/models", {"authorization": f"Bearer {ADMIN}"}
    (process,) = (await proxy.client.get(url, headers=headers)).json()["processes"]

    assert list(process["problems"]) == ["demo"]


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 0.001, 1e12])
def test_any_duration_has_its_place(seconds):
    """Even where the clock has jumped."""
    (group,) = grouped([record(seconds)], ["client"])
    ((step, count),) = group["durations"].items()

    assert count == 1
    assert 0.001 * STEP ** int(step) >= seconds


def record(duration_s):
    return RequestRecord(
        id="x",
        client="laptop",
        dialect="openai_chat",
        model="demo/small",
        stream=False,
        status=200,
        outcome="completed",
        error=None,
        started_at=datetime.now(UTC),
        first_event_s=None,
        duration_s=duration_s,
        attempts=(),
        usage=None,
    )


@pytest.mark.slow
async def test_a_search_covers_every_worker(home, counting):
    variables = {
        "DEMO_API_BASE": counting.url,
        "DEMO_API_KEY": "key-a",
        "PROXY_API_KEY": "k",
        "PROXY_ADMIN__KEY": ADMIN,
    }
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    async with (
        serving(home, "--workers", "2", **variables) as program,
        httpx.AsyncClient(timeout=20) as client,
        asyncio.timeout(60),
    ):
        processes = []
        while len(processes) < 2 or not all(process["kept"] for process in processes):
            headers = {"authorization": "Bearer k", "connection": "close"}
            assert (await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)).is_success
            url, headers = f"{program.url}/admin/requests", {"authorization": f"Bearer {ADMIN}", "connection": "close"}
            processes = (await client.get(url, headers=headers)).json()["processes"]

    assert len({request["id"] for process in processes for request in process["requests"]}) > 1
