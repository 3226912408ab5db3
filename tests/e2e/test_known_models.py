"""What the proxy knows of models: lists, counts and costs, as a client gets them."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing

import openai
import pytest

from proxy_core import ModelCatalog, ModelInfo, TokenCount, TokenCounter
from proxy_core.testing import chunk, plugin_with
from proxy_core.testing.proxy import CLIENT_KEY

CARD = ModelInfo(
    context_length=1000,
    max_output_tokens=100,
    input_modalities=("text", "image"),
    output_modalities=("text",),
    capabilities={"vision": True},
    input_price=1.0,
    output_price=2.0,
    cached_price=0.5,
)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
ANSWER = {"object": "chat.completion", "choices": [{"message": {"content": "x"}}], "usage": USAGE}
COST = (6 * 1.0 + 4 * 0.5 + 5 * 2.0) / 1e6


class Tables:
    """A plugin with a catalog of ``demo/big`` and a counter; ``loads`` counts how often it was read."""

    def __init__(self):
        self.loads = 0
        self.fail = False
        self.takes_s = 0.0
        self.read = threading.Event()
        self.read.set()

    def load(self):
        self.loads += 1
        time.sleep(self.takes_s)
        self.read.wait(60)
        if self.fail:
            raise OSError("no table")
        return lambda provider, model: CARD if (provider, model) == ("demo", "big") else None

    def count(self, asked):
        match asked.model:
            case "big":
                return TokenCount(tokens=len(asked.text or asked.messages), tokenizer="letters", exact=True)
            case "absent":
                return TokenCount(tokens=None, tokenizer="x", note="It is not here.")
            case "broken":
                raise OSError("cannot")
        return None

    def plugin(self):
        return plugin_with(
            proxy_model_catalogs=[ModelCatalog(name="tables", load=self.load, rank=-1)],
            proxy_token_counters=[TokenCounter(name="letters", count=self.count, rank=-1)],
        )


@pytest.fixture
def tables():
    return Tables()


@pytest.fixture
def knowing(make_proxy, upstream, tables):
    async def make(demo=None, **settings):
        provider = {"base_url": upstream.url, "api_keys": ["key-a"], **(demo or {})}
        return await make_proxy({"providers": {"demo": provider}, **settings}, modules=[tables.plugin()])

    return make


def listing(upstream, *models):
    upstream.for_path("/models").responds(json_body={"object": "list", "data": list(models)})


# --- Models ------------------------------------------------------------------------------


async def test_a_model_list_gives_the_known_metadata_and_its_sources(knowing, upstream, tables):
    listing(upstream, {"id": "big", "object": "model", "context_window": 2000, "active": True}, {"id": "other"})
    proxy = await knowing(
        {"models": {"big": {"max_output_tokens": 50, "capabilities": ["function_calling"]}}},
        models={"fast": {"deployments": ["demo/big"], "context_length": 500}},
    )
    assert tables.loads == 0

    cards = {card["id"]: card for card in (await proxy.get("/models")).json["data"]}

    assert tables.loads == 1
    big = cards["demo/big"]
    assert (big["context_length"], big["max_completion_tokens"]) == (2000, 50)
    assert big["pricing"] == {"prompt": 1e-6, "completion": 2e-6, "cached_input": 5e-7, "cache_write": 1e-6}
    assert big["architecture"] == {"input_modalities": ["text", "image"], "output_modalities": ["text"]}
    assert big["capabilities"] == {"function_calling": True, "vision": True}
    assert big["_sources"] == {
        "context_length": "provider",
        "max_completion_tokens": "settings",
        "pricing": "tables",
        "architecture": "tables",
        "capabilities": "settings, tables",
    }
    assert (cards["fast"]["context_length"], cards["fast"]["_sources"]["context_length"]) == (500, "settings")
    assert cards["fast"]["max_completion_tokens"] == 50
    assert cards["demo/other"]["_sources"] == {}
    one = (await proxy.get("/models/demo/big")).json
    assert one == big


async def test_entries_of_a_list_that_name_no_model_spoil_nothing(knowing, upstream):
    listing(upstream, {"id": ""}, {"id": "x" * 300}, {}, {"id": None}, 7, {"id": "zz"})
    proxy = await knowing()

    for path in ("/models", "/models?enriched=false"):
        assert [card["id"] for card in (await proxy.get(path)).json["data"]] == ["demo/zz"]


async def test_the_bare_list_reads_no_table(knowing, upstream, tables):
    listing(upstream, {"id": "big"})
    proxy = await knowing()

    cards = (await proxy.get("/models?enriched=false")).json["data"]

    assert [sorted(card) for card in cards] == [["created", "id", "object", "owned_by"]]
    assert tables.loads == 0
    refused = await proxy.get("/models?enriched=perhaps")
    assert (refused.status, refused.error["param"]) == (400, "enriched")


async def test_openais_client_reads_the_list(knowing, upstream):
    listing(upstream, {"id": "big"})
    proxy = await knowing()

    async with openai.AsyncOpenAI(base_url=proxy.url, api_key=proxy.key) as client:
        models = [model async for model in client.models.list()]

    assert [model.id for model in models] == ["demo/big"]
    assert models[0].context_length == 1000


async def test_an_agent_that_says_its_version_gets_a_list_it_can_decode(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "models": ["small"]}}})
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}

    agents, plain = [
        (await proxy.client.get(f"{proxy.url}/models{query}", headers=headers)).json()
        for query in ("?client_version=0.171.0", "")
    ]

    assert agents == {**plain, "models": []}
    assert "models" not in plain


async def test_a_table_that_cannot_be_read_leaves_the_list_as_it_is(knowing, upstream, tables):
    tables.fail = True
    listing(upstream, {"id": "big"})
    proxy = await knowing()

    assert (await proxy.get("/models")).json["data"][0]["_sources"] == {}
    assert (await proxy.get("/models")).status == 200
    assert tables.loads == 1


# --- Costs -------------------------------------------------------------------------------


async def used(proxy):
    today = proxy.proxy.services.clock.now().date()
    rows = []
    async with asyncio.timeout(20):
        while not any(row.priced for row in rows):
            await asyncio.sleep(0.02)
            rows = await proxy.process.state.rows(today, today)
    return rows


async def test_a_response_is_priced_by_a_catalog_that_is_read_after_it(knowing, upstream, tables):
    upstream.says(chunk({"content": "hi"}), chunk(finish="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n")
    upstream.responds(json_body=ANSWER)
    proxy = await knowing(clients={"test": {"key": "test-client-key", "cost_per_day": 1.5 * COST}})
    await proxy.chat("demo/big", "hi", stream=True)
    rows = await used(proxy)

    assert tables.loads == 1
    assert sum(row.cost for row in rows) == pytest.approx(COST)
    assert sum(row.requests for row in rows) == 1
    assert (await proxy.chat("demo/big", "hi")).status == 200
    refused = await proxy.chat("demo/big", "hi")
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")


async def test_a_price_in_settings_needs_no_table(knowing, upstream, tables):
    upstream.responds(json_body=ANSWER)
    proxy = await knowing({"models": {"big": {"input_price": 10.0}}})
    await proxy.chat("demo/big", "hi")

    assert sum(row.cost for row in await used(proxy)) == pytest.approx(10 * 10.0 / 1e6)
    assert tables.loads == 0


async def test_what_a_request_would_cost(knowing):
    proxy = await knowing(models={"fast": "demo/big"})
    tokens = {"prompt_tokens": 6, "completion_tokens": 5, "cache_read_tokens": 4}

    assert (await proxy.post("/cost-estimate", {"model": "fast", **tokens})).json == {
        "model": "fast",
        "cost": pytest.approx(COST),
        "currency": "USD",
        "pricing": {"prompt": 1e-6, "completion": 2e-6, "cached_input": 5e-7, "cache_write": 1e-6},
        "source": "tables",
    }
    unknown = (await proxy.post("/cost-estimate", {"model": "demo/other", "prompt_tokens": 1})).json
    assert (unknown["cost"], unknown["pricing"], unknown["source"]) == (None, None, None)
    assert "'demo/other'" in unknown["reason"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "model"),
        ({"model": 5}, 400, "model"),
        ({"model": "demo/big", "prompt_tokens": -1}, 400, "prompt_tokens"),
        ({"model": "demo/big", "completion_tokens": 1.5}, 400, "completion_tokens"),
        ({"model": "demo/big", "cache_read_tokens": True}, 400, "cache_read_tokens"),
        ({"model": "demo/big", "cache_creation_tokens": "3"}, 400, "cache_creation_tokens"),
        ({"model": "demo/big", "tokens": 3}, 400, "tokens"),
        ({"model": "nowhere/big"}, 404, "model"),
        ({"model": "demo/hidden"}, 404, "model"),
        ([], 400, None),
    ],
)
async def test_a_wrong_estimate_names_the_field(knowing, body, status, param):
    proxy = await knowing({"exclude_models": ["hidden"]})

    refused = await proxy.post("/cost-estimate", body)

    assert (refused.status, refused.error["param"]) == (status, param)


async def test_no_request_waits_while_a_table_is_read(knowing, upstream, tables):
    tables.read.clear()
    listing(upstream, {"id": "big"})
    proxy = await knowing()

    async with asyncio.TaskGroup() as group:
        slow = group.create_task(proxy.get("/models"))
        while not tables.loads:
            await asyncio.sleep(0.01)
        assert (await proxy.chat("demo/big", "hi")).status == 200
        assert not slow.done()
        tables.read.set()

    assert slow.result().status == 200
    assert tables.loads == 1


async def test_what_a_response_cost_is_kept_although_the_proxy_ends_while_the_table_is_read(
    knowing, upstream, tables, tmp_path
):
    tables.takes_s = 0.4
    upstream.responds(json_body=ANSWER)
    proxy = await knowing(state={"url": f"sqlite:///{tmp_path / 'state.db'}"})
    await proxy.chat("demo/big", "hi")
    proxy.stop.set()

    def kept():
        with closing(sqlite3.connect(tmp_path / "state.db")) as database:
            return database.execute("SELECT SUM(requests), SUM(priced), SUM(cost) FROM usage").fetchone()

    async with asyncio.timeout(20):
        while kept()[1] != 1:
            await asyncio.sleep(0.05)
    assert kept() == (1, 1, pytest.approx(COST))


# --- Counting ----------------------------------------------------------------------------


async def test_tokens_are_counted_by_the_counter_that_knows_the_model(knowing):
    proxy = await knowing(models={"fast": "demo/big"})
    exact = {"exact": True, "source": "letters: letters"}

    assert (await proxy.post("/token-count", {"model": "demo/big", "text": "four"})).json == {
        "token_count": 4,
        **exact,
        "model": "demo/big",
    }
    messages = [{"role": "user", "content": "four"}]
    assert (await proxy.post("/token-count", {"model": "fast", "messages": messages})).json["token_count"] == 1


async def test_without_any_counter_a_count_is_refused_and_names_the_package(make_proxy, upstream):
    tables = {"plugins": {"disabled": ["estimates", "litellm"]}, "providers": {"demo": {"base_url": upstream.url}}}
    proxy = await make_proxy(tables)

    counted = await proxy.client.post(
        proxy.url.removesuffix("/v1") + "/v1beta/models/demo/small:countTokens",
        json={"contents": [{"parts": [{"text": "hi"}]}]},
        headers={"x-goog-api-key": CLIENT_KEY},
    )

    assert counted.status_code == 503
    assert counted.headers["x-should-retry"] == "false", "only the operator can change that"
    assert "pip install proxy-plugin-estimates" in counted.json()["error"]["message"]


async def test_a_counter_of_any_rank_comes_before_the_estimate(make_proxy, upstream):
    rough = TokenCounter(name="rough", count=lambda asked: TokenCount(tokens=7), rank=10**9)
    failing = TokenCounter(name="failing", count=lambda asked: 1 / 0, rank=-1)
    proxy = await make_proxy(
        {"providers": {"demo": {"base_url": upstream.url}}},
        modules=[plugin_with(proxy_token_counters=[rough, failing])],
    )

    assert (await proxy.post("/token-count", {"model": "demo/small", "text": "four"})).json == {
        "token_count": 7,
        "exact": False,
        "source": "rough",
        "note": "The counter failing failed.",
        "model": "demo/small",
    }


@pytest.mark.parametrize(
    ("model", "note"),
    [("small", "No counter knows"), ("absent", "It is not here."), ("broken", "The counter letters failed.")],
)
async def test_tokens_are_estimated_if_no_counter_knows_the_model(knowing, model, note):
    proxy = await knowing()

    text = (await proxy.post("/token-count", {"model": f"demo/{model}", "text": "some words to count"})).json
    messages = [{"role": "user", "content": "some words to count"}]
    chat = (await proxy.post("/token-count", {"model": f"demo/{model}", "messages": messages, "tools": []})).json

    assert (text["token_count"], text["exact"], text["source"]) == (4, False, "estimate")
    assert note in text["note"]
    assert chat["token_count"] == 4 + 7


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"text": "x"}, 400, "model"),
        ({"model": "demo/big"}, 400, "messages"),
        ({"model": "demo/big", "text": "x", "messages": []}, 400, "messages"),
        ({"model": "demo/big", "text": ["x"]}, 400, "text"),
        ({"model": "demo/big", "text": "x", "tools": []}, 400, "tools"),
        ({"model": "demo/big", "messages": "x"}, 400, "messages"),
        ({"model": "demo/big", "messages": ["x"]}, 400, "messages[0]"),
        ({"model": "demo/big", "messages": [{"content": "x"}]}, 400, "messages[0].role"),
        ({"model": "demo/big", "messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
        ({"model": "demo/big", "messages": [{"role": "user", "content": ["x"]}]}, 400, "messages[0].content[0]"),
        ({"model": "demo/big", "messages": [{"role": "user", "tool_calls": 5}]}, 400, "messages[0].tool_calls"),
        ({"model": "demo/big", "messages": [], "tools": {"a": 1}}, 400, "tools"),
        ({"model": "demo/big", "input": "x"}, 400, "input"),
        ({"model": "nowhere/big", "text": "x"}, 404, "model"),
        (b"{", 400, None),
        (b'{"model": "demo/big", "text": "' + b"x" * 5000 + b'"}', 413, None),
    ],
)
async def test_a_wrong_count_names_the_field(knowing, body, status, param):
    proxy = await knowing(server={"max_body_bytes": 4096})

    refused = await proxy.post("/token-count", body)

    assert (refused.status, refused.error["param"]) == (status, param)


async def test_a_clients_models_and_key_apply(knowing):
    clients = {"test": {"key": "test-client-key", "models": ["fast"]}}
    proxy = await knowing(clients=clients, models={"fast": "demo/big"})

    for path, more in (("/token-count", {"text": "x"}), ("/cost-estimate", {})):
        assert (await proxy.post(path, {"model": "fast", **more})).status == 200
        assert (await proxy.post(path, {"model": "demo/big", **more})).error["code"] == "model_not_allowed"
        assert (await proxy.post(path, {"model": "fast", **more}, key="wrong")).status == 401
        bare = await proxy.client.post(
            proxy.url[:-3] + path, json={"model": "fast", **more}, headers={"x-api-key": proxy.key}
        )
        assert bare.status_code == 200
