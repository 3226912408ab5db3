"""Concurrent requests for embeddings as one upstream call."""

import asyncio
import json

import pytest

from proxy_core.dialects.openai_embeddings import to_base64
from proxy_core.testing import Script, fingerprint


class Vectors:
    """Answers a call by what is in it: each text's vector is its length; refuses a text "bad"."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.delay_s = 0.0
        self.failures = []
        self.seen = []
        upstream._script = self.script

    def script(self, request):
        self.seen.append(request.json)
        texts = request.json["input"]
        texts = [texts] if isinstance(texts, str) else texts
        status, body = (
            200,
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": n, "embedding": [float(len(str(t)))]} for n, t in enumerate(texts)
                ],
                "model": "small",
                "usage": {"prompt_tokens": 10 * len(texts) + 1, "total_tokens": 10 * len(texts) + 1},
            },
        )
        if self.failures:
            status, body = self.failures.pop(0), {"error": {"message": "no"}}
        elif "bad" in texts:
            status, body = 400, {"error": {"message": "bad text"}}
        steps = ([self.delay_s] if self.delay_s else []) + [json.dumps(body).encode()]
        return Script(status, {"content-type": "application/json"}, steps)


@pytest.fixture
def vectors(upstream):
    return Vectors(upstream)


@pytest.fixture
def batching(make_proxy):
    async def make(**embeddings):
        provider = {"api_keys": ["key-a", "key-b"]}
        clients = {"test": {"key": "test-client-key"}, "other": {"key": "other-client-key"}}
        return await make_proxy(
            {
                "providers": {"demo": provider},
                "clients": clients,
                "routing": {"selector": "sequential", "max_wait_s": 1, "retry_delay_s": 0.01, "retry_jitter_s": 0},
                "embeddings": {"batch_window_s": 0.15, **embeddings},
            }
        )

    return make


@pytest.fixture
def together(clock):
    """Waits for all of these, for as long as they take by the clock."""

    async def run(*asking):
        return await clock.run(asyncio.gather(*asking))

    return run


def ask(proxy, value, *, key=None, **fields):
    return proxy.post("/embeddings", {"model": "demo/small", "input": value, **fields}, key=key)


def lengths(answer):
    return [item["embedding"][0] for item in answer.json["data"]]


async def used(proxy, requests):
    today, rows = proxy.proxy.services.clock.now().date(), []
    async with asyncio.timeout(10):
        while sum(row.requests for row in rows) < requests:
            await asyncio.sleep(0.02)
            rows = await proxy.process.state.rows(today, today)
    return {name: sum(getattr(row, name) for row in rows) for name in ("requests", "attempts", "failures", "prompt")}


async def test_nothing_is_batched_unless_settings_say_so(batching, vectors, together):
    proxy = await batching(batch_window_s=0)
    await together(*(ask(proxy, "a") for _ in range(3)))

    assert len(vectors.seen) == 3


async def test_several_become_one_and_each_gets_its_own(batching, vectors, together):
    proxy = await batching()
    values = ["a", ["bb", "ccc"], "dddd"]
    answers = await together(*(ask(proxy, value) for value in values))

    assert [sorted(seen["input"]) for seen in vectors.seen] == [["a", "bb", "ccc", "dddd"]]
    assert [lengths(answer) for answer in answers] == [[1.0], [2.0, 3.0], [4.0]]
    assert [[item["index"] for item in a.json["data"]] for a in answers] == [[0], [0, 1], [0]]
    assert sum(a.json["usage"]["prompt_tokens"] for a in answers) == 41
    assert {a.headers["x-proxy-credential"] for a in answers} == {fingerprint("key-a")}
    assert len({a.headers["x-request-id"] for a in answers}) == 3
    assert await used(proxy, 3) == {"requests": 3, "attempts": 1, "failures": 0, "prompt": 41}


async def test_the_encoding_is_the_one_asked_for(batching, vectors, together):
    proxy = await batching()
    answers = await together(*(ask(proxy, v, encoding_format="base64") for v in ("a", "bb")))

    assert len(vectors.seen) == 1
    assert [a.json["data"][0]["embedding"] for a in answers] == [to_base64([1.0]), to_base64([2.0])]


async def test_inputs_with_different_options_are_sent_separately(batching, vectors, together):
    proxy = await batching()
    await together(
        ask(proxy, "a"),
        ask(proxy, "b", dimensions=3),
        ask(proxy, "c", user="u"),
        ask(proxy, "d", model="demo/big"),
        ask(proxy, [1, 2]),
        ask(proxy, [3, 4]),
    )

    assert len(vectors.seen) == 6


async def test_clients_are_batched_together_and_counted_apart(batching, vectors, together):
    proxy = await batching()
    await together(ask(proxy, "a"), ask(proxy, "b", key="other-client-key"))
    await used(proxy, 2)
    today = proxy.proxy.services.clock.now().date()
    rows = await proxy.process.state.rows(today, today)

    assert len(vectors.seen) == 1
    assert sorted((row.client, row.requests) for row in rows) == [("other", 1), ("test", 1)]
    assert sorted(row.prompt for row in rows) == [10, 11]


async def test_a_full_batch_leaves_at_once_and_takes_no_more(batching, vectors, clock):
    proxy = await batching(batch_inputs=2, batch_window_s=1)
    asked = (*(ask(proxy, "a" * n) for n in (1, 2, 3, 4)), ask(proxy, ["x", "y", "z"]))
    answers, took_s = await clock.timed(asyncio.gather(*asked))

    assert took_s == 0
    assert sorted(len(seen["input"]) for seen in vectors.seen) == [2, 2, 3]
    assert [lengths(a) for a in answers] == [[1.0], [2.0], [3.0], [4.0], [1.0, 1.0, 1.0]]


async def test_a_single_input_waits_only_for_the_batch_window(batching, vectors, clock):
    proxy = await batching()
    answer, took_s = await clock.timed(ask(proxy, "a"))

    assert answer.status == 200
    assert took_s == pytest.approx(0.15)
    assert vectors.seen[0]["input"] == "a", "sent as it came"


async def test_only_the_guilty_one_is_refused(batching, vectors, together):
    proxy = await batching()
    answers = await together(ask(proxy, "a"), ask(proxy, "bad"), ask(proxy, "bb"))

    assert [answer.status for answer in answers] == [200, 400, 200]
    assert answers[1].error["message"] == "bad text"
    assert len(vectors.seen) == 4
    assert await used(proxy, 3) == {"requests": 3, "attempts": 4, "failures": 2, "prompt": 22}


async def test_a_batch_is_retried_and_rotated_like_any_request(batching, vectors, together):
    vectors.failures = [429]
    proxy = await batching()
    answers = await together(ask(proxy, "a"), ask(proxy, "bb"))

    assert [lengths(answer) for answer in answers] == [[1.0], [2.0]]
    assert [r.key for r in vectors.upstream.requests] == ["key-a", "key-b"]
    assert {a.headers["x-proxy-credential"] for a in answers} == {fingerprint("key-b")}
    assert await used(proxy, 2) == {"requests": 2, "attempts": 2, "failures": 1, "prompt": 21}


async def leaves(clock, proxy, value, after_s):
    """A client that does not wait for its answer."""
    asking = asyncio.create_task(ask(proxy, value))
    await clock.sleep(after_s)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("after_s", [0.05, 0.3], ids=["before it is sent", "after"])
async def test_a_client_that_leaves_affects_no_other(batching, vectors, together, clock, after_s):
    vectors.delay_s = 0.4
    proxy = await batching()
    _, *answers = await together(leaves(clock, proxy, "gone", after_s), ask(proxy, "a"), ask(proxy, "bb"))

    assert [lengths(answer) for answer in answers] == [[1.0], [2.0]]
    assert len(vectors.seen) == 1
    assert ("gone" in vectors.seen[0]["input"]) is (after_s > 0.15)
    found = await used(proxy, 3)
    assert (found["requests"], found["attempts"]) == (3, 1)


async def test_after_all_clients_left_the_upstream_is_closed(batching, vectors, together, clock):
    vectors.delay_s = 30
    proxy = await batching()
    await together(leaves(clock, proxy, "a", 0.4), leaves(clock, proxy, "b", 0.4))

    async with asyncio.timeout(20):
        await vectors.upstream.requests[0].left.wait()
    found = await used(proxy, 2)
    assert (found["requests"], found["attempts"]) == (2, 1)
    assert proxy.proxy.pools["demo"].in_flight == 0
