"""``/metrics``: scraped as Prometheus scrapes it, and read with its own parser."""

import asyncio
import time

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

import proxy_core
from proxy_core.testing import chunk, cut, fingerprint, plugin_with, serving, stall

ADMIN = "the-admin-key"
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


class Page:
    """One scrape. ``page("attempts_total", provider="demo")`` is the sum of the samples with these labels."""

    def __init__(self, text, parse=text_string_to_metric_families):
        self.text = text
        self.samples = [sample for family in parse(text) for sample in family.samples]

    def __call__(self, name, /, **labels):
        found = self.of(name, **labels)
        return sum(sample.value for sample in found) if found else None

    def of(self, name, /, **labels):
        name = f"proxy_core_{name}"
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def values(self, name, label):
        return {sample.labels[label] for sample in self.of(name)}


async def scrape(proxy, key=ADMIN):
    answer = await proxy.get("/../metrics", key=key)
    assert answer.status == 200
    return Page(answer.body.decode())


@pytest.fixture
def counting(make_proxy, upstream):
    """A proxy like the fixture ``proxy``, with a known admin key."""

    async def make(modules=(), **tables):
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
        settings = {"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 1}}
        return await make_proxy({**settings, "admin": {"key": ADMIN}, **tables}, modules=modules)

    return make


async def test_a_plain_request_and_a_stream_are_counted(counting, upstream):
    upstream.says(chunk({"content": "hi"}), chunk(finish="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n")
    proxy = await counting()
    await proxy.chat("demo/small", "hi", stream=True)
    upstream.responds(json_body={**REPLY, "usage": USAGE})
    await proxy.chat("demo/small", "hi")

    page = await scrape(proxy)
    ended = {"client": "test", "dialect": "openai_chat", "provider": "demo", "model": "small"}

    assert page("requests_total", **ended, status="2xx", outcome="completed", worker="1") == 2
    assert page("attempts_total", provider="demo") == 2
    assert page("attempt_failures_total") is None
    tokens = {s.labels["kind"]: s.value for s in page.of("tokens_total", client="test", provider="demo", model="small")}
    assert tokens == {"prompt": 20, "cached": 8, "cache_write": 0, "completion": 10, "reasoning": 4}
    for name in ("request_duration_seconds", "first_event_seconds", "overhead_seconds"):
        assert {s.labels["stream"]: s.value for s in page.of(f"{name}_count")} == {"true": 1, "false": 1}
        assert page(f"{name}_bucket", le="+Inf", stream="true") == 1
        assert page(f"{name}_sum") > 0


async def test_failures_are_counted_by_fault_and_status(counting, upstream):
    upstream.for_key("key-a").responds(429, headers={"retry-after": "30"})
    upstream.for_key("key-b").responds(500)
    proxy = await counting(routing={"selector": "sequential", "max_wait_s": 1, "retry_delay_s": 0, "retry_jitter_s": 0})
    await proxy.chat("demo/small", "hi")
    page = await scrape(proxy)

    assert page("attempt_failures_total", provider="demo", fault="model", status="429") == 1
    assert page("attempt_failures_total", provider="demo", fault="provider", status="500") >= 1
    assert page("attempts_total", provider="demo") == page("attempt_failures_total")
    assert page("requests_total", outcome="failed", status="4xx", provider="demo") == 1
    assert (
        page("credentials_cooling_down", provider="demo", scope="credential")
        + page("credentials_cooling_down", provider="demo", scope="model")
        >= 1
    )
    assert page("credentials", provider="demo") == 2
    assert page("overhead_seconds_count") is None


async def test_rotation_counts_both_attempts_and_one_request(counting, upstream):
    upstream.for_key("key-a").responds(401)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    page = await scrape(proxy)

    assert page("attempts_total") == 2
    assert page("attempt_failures_total", fault="credential", status="401") == 1
    assert page("requests_total", outcome="completed") == page("requests_total") == 1
    assert page("credentials_cooling_down", scope="credential") == 1


async def test_an_upstream_that_cannot_be_reached_has_no_status_and_an_outage_shows(counting, upstream):
    provider = {"base_url": "http://127.0.0.1:1/v1", "api_keys": ["key-a"]}
    rules = {"max_wait_s": 0.2, "retry_delay_s": 0, "retry_jitter_s": 0, "circuit_breaker_failures": 1}
    proxy = await counting(providers={"demo": provider}, routing=rules)
    await proxy.chat("demo/small", "hi")
    page = await scrape(proxy)

    assert page("attempt_failures_total", fault="network", status="") >= 1
    assert page("circuit_breaker_open", provider="demo") == 1


async def test_a_cut_stream_and_a_client_that_leaves_have_outcomes_of_their_own(counting, upstream):
    upstream.says(chunk({"content": "hel"}), cut())
    upstream.says(chunk({"content": "hel"}), stall())
    proxy = await counting()
    await proxy.chat("demo/small", "hi", stream=True)
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"authorization": f"Bearer {proxy.key}"}
    async with proxy.client.stream("POST", proxy.url + "/chat/completions", json=body, headers=headers) as response:
        pieces = response.aiter_bytes()
        await anext(pieces)
        page = await scrape(proxy)
        assert (page("leases", provider="demo"), page("requests_in_flight")) == (1, 1)
    async with asyncio.timeout(20):
        while not (page := await scrape(proxy))("requests_total", outcome="client_left"):
            await asyncio.sleep(0.01)

    assert page("requests_total", outcome="cut", status="2xx") == 1
    assert (page("leases", provider="demo"), page("requests_in_flight")) == (0, 0)


async def test_what_is_refused_unread_is_counted_without_a_client(counting):
    proxy = await counting()
    await proxy.post("/chat/completions", {}, key="wrong")
    await proxy.post("/chat/completions", b"nonsense")
    await proxy.chat("nobody/knows", "hi")
    page = await scrape(proxy)

    assert page("requests_total", client="", status="4xx", dialect="openai_chat") == 2
    assert page("requests_total", client="test", status="4xx", provider="", model="") == 1


async def test_models_that_clients_make_up_share_a_label(counting, upstream):
    upstream.responds(404, json_body={"error": {"message": "no such model", "code": "model_not_found"}})
    named = {"base_url": upstream.url, "api_keys": ["key-a"], "models": {"mine": {"id": "theirs"}}}
    proxy = await counting(providers={"demo": named})
    for model in ("made-up-1", "made-up-2", "made-up-3", "mine"):
        await proxy.chat(f"demo/{model}", "hi")

    assert (await scrape(proxy)).values("requests_total", "model") == {"other", "theirs"}


async def test_time_in_plugins_is_by_plugin(counting, upstream):
    class Passing:
        def feed(self, event):
            return [event]

        def close(self):
            return []

    sanitizer = proxy_core.Sanitizer(name="seeing", request=lambda r: r, events=lambda r: Passing())
    proxy = await counting(modules=[plugin_with(proxy_sanitizers=[sanitizer])])
    await proxy.chat("demo/small", "hi", stream=True)
    page = await scrape(proxy)

    assert page("plugin_calls_total", plugin="tested", role="sanitizer", name="seeing") == 1
    assert page("plugin_calls_total", plugin="tested", role="event_filter") >= 2
    assert page("plugin_calls_total", plugin="core", role="selector", name="sequential") == 1
    assert page("plugin_seconds_total", plugin="tested", role="event_filter") > 0


async def test_a_function_of_a_plugin_that_fails_or_is_not_called_any_more_shows(counting):
    def slow(request):
        time.sleep(0.02)
        return request

    def broken(request):
        raise LookupError

    sanitizers = [
        proxy_core.Sanitizer(name="slow", request=slow, rank=1),
        proxy_core.Sanitizer(name="broken", request=broken, rank=2),
    ]
    proxy = await counting([plugin_with(proxy_sanitizers=sanitizers)], plugins={"budget_s": 0.01})
    before = await scrape(proxy)

    answers = [await proxy.chat("demo/small", "hi") for _ in range(4)]

    page = await scrape(proxy)
    assert [answer.status for answer in answers] == [500, 500, 500, 503]
    assert before("plugin_calls_total", name="slow") is None
    assert page("plugin_calls_total", plugin="tested", role="sanitizer", name="slow") == 3
    assert page("plugin_failures_total", plugin="tested", role="sanitizer", name="broken") == 3
    assert page("plugin_seconds_total", plugin="tested", role="sanitizer", name="slow") >= 0.06
    assert page("plugin_breaker_open", plugin="tested", role="sanitizer", name="slow") == 1
    assert page("plugin_failures_total", plugin="tested", role="sanitizer", name="slow") == 0


async def test_overhead_excludes_the_time_of_the_upstream_and_of_cooldowns(counting, upstream):
    upstream.says(0.3, chunk({"content": "hi"}), 0.2, chunk(finish="stop"), b"data: [DONE]\n\n")
    proxy = await counting()
    began = time.monotonic()
    await proxy.chat("demo/small", "hi", stream=True)
    took_s = time.monotonic() - began
    page = await scrape(proxy)

    assert page("overhead_seconds_count") == 1
    assert page("overhead_seconds_sum") < took_s - 0.5 + 0.01
    assert page("first_event_seconds_sum") + 0.01 >= 0.3


async def test_what_is_dropped_or_fails_unnoticed_is_there_from_the_start(counting):
    async def broken(record):
        raise RuntimeError

    module = plugin_with(proxy_observers=[proxy_core.Observer(name="broken", observe=broken)])
    proxy = await counting(modules=[module])
    page = await scrape(proxy)
    assert {s.labels["what"]: s.value for s in page.of("dropped_total")} == {
        "records": 0,
        "log_lines": 0,
        "observer_records": 0,
    }
    await proxy.chat("demo/small", "hi")
    page = await scrape(proxy)

    assert page("contained_failures_total", role="observer") == 1
    assert page("build_info", version=proxy_core.version.VERSION) == 1


async def test_the_page_wants_the_admin_key(counting):
    proxy = await counting()
    url = proxy.url.removesuffix("/v1") + "/metrics"

    assert (await proxy.client.get(url)).status_code == 401
    assert (await proxy.client.get(url, headers={"authorization": f"Bearer {proxy.key}"})).status_code == 401
    response = await proxy.client.get(url, headers={"authorization": f"Bearer {ADMIN}"})
    assert response.headers["content-type"].startswith("text/plain")


async def test_a_public_page_requires_no_key_but_traffic_between_workers_does(counting):
    proxy = await counting(plugins={"prometheus": {"public": True}})
    root = proxy.url.removesuffix("/v1")

    assert (await proxy.client.get(f"{root}/metrics")).status_code == 200
    assert (await proxy.client.get(f"{root}/admin/status?local=1")).status_code == 401


async def test_it_serves_openmetrics_on_request(counting):
    proxy = await counting(plugins={"prometheus": {"public": True}})
    await proxy.chat("demo/small", "hi")
    url = proxy.url.removesuffix("/v1") + "/metrics"
    response = await proxy.client.get(url, headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert Page(response.text, open_metrics)("requests_total") == 1


async def test_without_the_plugin_there_is_no_page(counting):
    proxy = await counting(plugins={"disabled": ["prometheus"]})

    assert (await proxy.chat("demo/small", "hi")).text == "hello"
    assert (await proxy.get("/../metrics", key=ADMIN)).status == 404


async def test_no_key_and_no_fingerprint_is_on_the_page(counting, upstream):
    upstream.for_key("key-a").responds(401)
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    text = (await scrape(proxy)).text

    assert all(fingerprint(key) not in text for key in ("key-a", "key-b"))
    assert not any(secret in text for secret in ("key-a", "key-b", proxy.key, ADMIN))


async def test_counts_go_on_when_settings_are_replaced(counting):
    proxy = await counting()
    await proxy.chat("demo/small", "hi")
    assert (await proxy.reload(log={"level": "debug"})).reloaded
    await proxy.chat("demo/small", "hi")

    assert (await scrape(proxy))("requests_total", outcome="completed") == 2


@pytest.mark.slow
async def test_every_worker_answers_for_all(tmp_path, upstream):
    variables = {"PROXY_API_KEY": "some-key", "DEMO_API_BASE": upstream.url, "PROXY_ADMIN__KEY": ADMIN}
    async with serving(tmp_path, "--workers", "2", **variables) as program, httpx.AsyncClient(timeout=20) as client:
        for _ in range(20):
            assert (await _asked(client, program)).is_success
        await _scraped(client, program, workers=2)
        pages = [await _scraped(client, program, workers=2) for _ in range(10)]
    by_worker = [{s.labels["worker"]: s.value for s in page.of("requests_total")} for page in pages]

    assert [page("requests_total", outcome="completed") for page in pages] == [20] * 10
    assert all(now == by_worker[0] for now in by_worker)
    assert all(page.values("build_info", "worker") == {"1", "2"} for page in pages)


async def _asked(client, program):
    """Scrape over a new connection, which any worker may accept."""
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": "Bearer some-key", "connection": "close"}
    return await client.post(f"{program.url}/v1/chat/completions", json=body, headers=headers)


async def _scraped(client, program, *, workers):
    """A page that covers that many workers; a worker that is still starting is not on it yet."""
    headers = {"authorization": f"Bearer {ADMIN}", "connection": "close"}
    async with asyncio.timeout(20):
        while True:
            page = Page((await client.get(f"{program.url}/metrics", headers=headers)).text)
            if page("workers") == workers:
                return page
            await asyncio.sleep(0.05)


REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
}
