"""Who counts the tokens of a request: the upstream, if it can, or else a counter or an estimate."""

import json

import pytest
from msgspec.structs import replace

from proxy_core import (
    Operation,
    OperationResponse,
    Provider,
    Sanitizer,
    UpstreamCount,
    UpstreamRequest,
    json_bytes,
    load_json,
)
from proxy_core.dialects import openai_chat
from proxy_core.testing import plugin_with, stall

CHAT = {"model": "counter/m", "messages": [{"role": "user", "content": "a secret word"}], "mine": 1}


async def count(request, services):
    counted = await services.count_tokens(openai_chat.decode(request.body), request.body)
    return OperationResponse(body={"tokens": counted.tokens, "exact": counted.exact}, headers=counted.headers)


def mask(request):
    return request.with_body(json.loads(json.dumps(request.body).replace("secret", "******")))


@pytest.fixture
async def proxy(make_proxy, upstream):
    """Its provider ``counter`` counts at ``/count``."""

    def to(path):
        def encode(call, credential):
            headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
            return UpstreamRequest(url=upstream.url + path, headers=headers, content=json_bytes(call.body))

        return encode

    def parse(body):
        return int(load_json(body)["n"])

    provider = Provider(
        name="counter",
        encode=to("/chat/completions"),
        dialects=["openai_chat"],
        count_tokens=UpstreamCount(request=to("/count"), parse=parse),
    )
    dialect = replace(
        openai_chat.DIALECT,
        name="counted",
        paths=("/v1/counted",),
        operations=(Operation(paths=("/v1/count",), answer=count, methods=("POST",)),),
    )
    modules = [
        plugin_with(
            proxy_providers=[provider],
            proxy_dialects=[dialect],
            proxy_sanitizers=[Sanitizer(name="mask", request=mask)],
        )
    ]
    upstream.for_path("/count").responds(json_body={"n": 7})
    providers = {"counter": {"api_keys": ["key-a"], "models": {"m": {"id": "up-m"}}}}
    clients = {"test": {"key": "test-client-key"}, "some": {"key": "some-client-key", "models": ["other"]}}
    return await make_proxy({"providers": providers, "clients": clients}, modules=modules)


def asked(upstream):
    return [request for request in upstream.requests if request.path.endswith("/count")]


async def test_the_upstream_counts_what_it_would_be_sent(proxy, upstream):
    answer = await proxy.post("/count", CHAT)

    assert answer.json == {"tokens": 7, "exact": True}
    assert answer.headers["x-proxy-token-counter"] == "upstream: counter/up-m"
    assert "x-proxy-token-counter-note" not in answer.headers
    (request,) = asked(upstream)
    assert request.json == {**CHAT, "model": "up-m", "messages": [{"role": "user", "content": "a ****** word"}]}
    assert request.headers["authorization"] == "Bearer key-a"
    assert request.headers["x-proxy-core-hops"] == "1"


@pytest.mark.parametrize(
    ("status", "body", "times", "why"),
    [
        (400, {"error": {"message": "no"}}, 2, "status 400"),
        (404, {}, 2, "status 404"),
        (401, {}, 1, "status 401"),
        (429, {}, 1, "status 429"),
        (500, {}, 1, "status 500"),
        (200, {"n": "many"}, 1, "ValueError"),
        (200, [], 1, "TypeError"),
    ],
)
async def test_otherwise_it_is_estimated_and_an_upstream_in_trouble_is_left_alone(
    proxy, upstream, status, body, times, why
):
    upstream.for_path("/count").queue.clear()
    upstream.for_path("/count").responds(status, json_body=body)

    answers = [await proxy.post("/count", CHAT) for _ in range(2)]

    assert [(a.status, a.headers["x-proxy-token-counter"]) for a in answers] == [(200, "estimate")] * 2
    note = f"The provider counter did not count: {why}."
    assert [answer.headers["x-proxy-token-counter-note"] for answer in answers] == [note, note]
    assert answers[0].json["tokens"] > 0
    assert not answers[0].json["exact"]
    assert len(asked(upstream)) == times
    assert proxy.cooldown_s("key-a") == 0


async def test_a_credential_that_rests_is_not_used(proxy, upstream):
    upstream.for_path("/chat/completions").responds(429, headers={"retry-after": "60"})
    await proxy.post("/chat/completions", {**CHAT, "max_tokens": 1}, headers={"x-stainless-timeout": "1"})

    answer = await proxy.post("/count", CHAT)

    assert answer.headers["x-proxy-token-counter"] == "estimate"
    assert asked(upstream) == []


async def test_a_client_counts_only_with_models_that_it_may_use(proxy, upstream):
    answer = await proxy.post("/count", CHAT, key="some-client-key")

    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert asked(upstream) == []


async def test_counting_does_not_go_round_in_circles(proxy, upstream):
    answer = await proxy.post("/count", CHAT, headers={"x-proxy-core-hops": "5"})

    assert (answer.status, answer.error["code"]) == (508, "proxy_loop")
    assert asked(upstream) == []


@pytest.mark.slow
async def test_nobody_waits_long_for_a_count(proxy, upstream):
    upstream.for_path("/count").queue.clear()
    upstream.for_path("/count").says(stall())

    answer = await proxy.post("/count", CHAT)

    assert answer.headers["x-proxy-token-counter"] == "estimate"


@pytest.mark.parametrize(
    "answer", ["{}", "[]", '{"%s": 0}', '{"%s": -3}', '{"%s": null}', '{"%s": true}', '{"%s": 1e400}']
)
@pytest.mark.parametrize(
    ("provider", "path", "name"),
    [
        ("gemini", "/models/m:countTokens", "totalTokens"),
        ("anthropic", "/messages/count_tokens", "input_tokens"),
    ],
)
async def test_an_answer_without_a_count_is_none(make_proxy, upstream, provider, path, name, answer):
    proxy = await make_proxy({"providers": {provider: {"base_url": upstream.url, "api_keys": ["key-a"]}}})
    upstream.for_path(path).responds(body=(answer % name if "%s" in answer else answer).encode())

    asked = {"model": f"{provider}/m", "messages": [{"role": "user", "content": "hi there"}]}
    counted = await proxy.post("/messages/count_tokens", asked)

    assert len(upstream.requests) == 1
    assert counted.headers["x-proxy-token-counter"] == "estimate"
    assert counted.json["input_tokens"] > 1


@pytest.mark.parametrize("answer", ['{"totalTokens": "7"}', '{"totalTokens": 7.0}', '{"totalTokens": 7}'])
async def test_a_count_may_be_written_in_several_ways(make_proxy, upstream, answer):
    proxy = await make_proxy({"providers": {"gemini": {"base_url": upstream.url, "api_keys": ["key-a"]}}})
    upstream.for_path("/models/m:countTokens").responds(body=answer.encode())

    asked = {"model": "gemini/m", "messages": [{"role": "user", "content": "hi there"}]}
    counted = await proxy.post("/messages/count_tokens", asked)

    assert counted.headers["x-proxy-token-counter"] == "upstream: gemini/m"
    assert counted.json["input_tokens"] == 7
