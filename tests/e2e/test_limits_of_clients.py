"""A client at its own limits: told in its own words, and no upstream is asked."""

import asyncio

import pytest

from proxy_core.testing import VirtualClock, chunk

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
LIMIT_HEADERS = ("limit", "remaining", "reset")


@pytest.fixture
def clock():
    """Stands in the middle of a minute until it is told to go on."""
    return VirtualClock(6_000_030.0)


@pytest.fixture
def limited(make_proxy, upstream, clock):
    """A proxy whose client ``test`` has limits; ``other`` has none."""

    async def make(**limits):
        models = {"small": {"input_price": 1e4, "output_price": 1e4}}
        provider = {"base_url": upstream.url, "api_keys": ["key-a"], "models": models}
        clients = {"test": {"key": "test-client-key", **limits}, "other": {"key": "other-client-key"}}
        settings = {"providers": {"demo": provider}, "clients": clients, "models": {"fast": ["demo/small"]}}
        return await make_proxy(settings, clock=clock)

    return make


def told(answer, kind="requests"):
    return [answer.headers.get(f"x-ratelimit-{name}-{kind}") for name in LIMIT_HEADERS]


async def test_requests_above_the_limit_wait_for_the_next_minute(limited, upstream, clock):
    proxy = await limited(requests_per_minute=2)
    first, second, third = [await proxy.chat("demo/small", "hi") for _ in range(3)]
    clock.time += 30
    fourth = await proxy.chat("demo/small", "hi")

    assert [a.status for a in (first, second, third, fourth)] == [200, 200, 429, 200]
    assert [told(a) for a in (first, third, fourth)] == [["2", "1", "30s"], ["2", "0", "30s"], ["2", "1", "60s"]]
    assert (third.headers["retry-after"], third.headers["retry-after-ms"]) == ("30", "30000")
    assert (third.error["type"], third.error["code"]) == ("requests", "rate_limit_exceeded")
    assert "2 requests a minute" in third.error["message"]
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_tokens_of_responses_count(limited, upstream, stream):
    if stream:
        upstream.says(chunk({"content": "hi"}), chunk(finish="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n")
    else:
        upstream.responds(json_body={"choices": [{"message": {"content": "hi"}}], "usage": USAGE})
    proxy = await limited(tokens_per_minute=15)
    first = await proxy.chat("demo/small", "hi", stream=stream)
    await asyncio.sleep(0.05)
    second = await proxy.chat("demo/small", "hi", stream=stream)

    assert (first.status, told(first, "tokens")) == (200, ["15", "15", "30s"])
    assert (second.status, told(second, "tokens")) == (429, ["15", "0", "30s"])
    assert "usage" not in first.body.decode() or not stream, "a client that did not ask for usage does not get it"
    assert len(upstream.requests) == 1


async def test_a_day_has_its_cost(limited, upstream):
    proxy = await limited(cost_per_day=0.05)
    first, second = [await proxy.chat("demo/small", "hi") for _ in range(2)]

    assert [first.status, second.status] == [200, 429]
    assert "0.05 US dollars a day" in second.error["message"]
    assert int(second.headers["retry-after"]) > 60
    assert second.headers["x-should-retry"] == "false"
    assert told(second) == [None] * 3


async def test_models_of_others_are_neither_served_nor_shown(limited, upstream):
    proxy = await limited(models=["fast"])
    upstream.for_path("/models").responds(json_body={"data": [{"id": "small"}]})
    fast, other = await proxy.chat("fast", "hi"), await proxy.chat("demo/small", "hi")
    mine, everybodys = await proxy.get("/models"), await proxy.get("/models", key="other-client-key")

    assert (fast.status, other.status) == (200, 403)
    assert (other.error["code"], other.error["param"]) == ("model_not_allowed", "model")
    assert [model["id"] for model in mine.json["data"]] == ["fast"]
    assert {"fast", "demo/small"} <= {model["id"] for model in everybodys.json["data"]}
    assert (await proxy.get("/models/demo/small")).status == 404
    assert len([r for r in upstream.requests if r.method == "POST"]) == 1


async def test_a_client_without_limits_gets_no_limit_headers(limited, upstream):
    proxy = await limited(requests_per_minute=1)
    body = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}
    answers = [await proxy.post("/chat/completions", body, key="other-client-key") for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert told(answers[0]) == [None] * 3


async def test_embeddings_and_completions_are_refused_alike(limited, upstream):
    proxy = await limited(requests_per_minute=1)
    await proxy.chat("demo/small", "hi")
    answers = [
        await proxy.post("/embeddings", {"model": "demo/small", "input": "a"}),
        await proxy.post("/completions", {"model": "demo/small", "prompt": "a", "stream": True}),
    ]

    assert [(a.status, a.error["code"]) for a in answers] == [(429, "rate_limit_exceeded")] * 2
    assert len(upstream.requests) == 1
