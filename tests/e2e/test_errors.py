"""Errors say who must act, in the client's dialect, with the right status."""

import json

import pytest

MESSAGES = [{"role": "user", "content": "hi"}]

BAD_BODIES = {
    "malformed": (b'{"model":', None),
    "not an object": (b'["model"]', None),
    "a bare string": (b'"x"', None),
    "empty": (b"", None),
    "not UTF-8": (b'{"model":"\xff\xfe"}', None),
    "not a number": (b'{"model":"demo/small","messages":[{"role":"user","content":"x"}],"temperature":NaN}', None),
    "nested too deeply": (b"[" * 100_000, None),
    "no model": (json.dumps({"messages": MESSAGES}).encode(), "model"),
    "null model": (json.dumps({"model": None, "messages": MESSAGES}).encode(), "model"),
    "empty model": (json.dumps({"model": "", "messages": MESSAGES}).encode(), "model"),
    "model of the wrong type": (json.dumps({"model": 3, "messages": MESSAGES}).encode(), "model"),
    "no messages": (b'{"model":"demo/small"}', "messages"),
    "empty messages": (b'{"model":"demo/small","messages":[]}', "messages"),
    "messages of the wrong type": (b'{"model":"demo/small","messages":"hi"}', "messages"),
    "a message that is no object": (b'{"model":"demo/small","messages":["hi"]}', "messages[0]"),
    "a message without role": (b'{"model":"demo/small","messages":[{"content":"x"}]}', "messages[0].role"),
    "stream of the wrong type": (
        json.dumps({"model": "demo/small", "messages": MESSAGES, "stream": "yes"}).encode(),
        "stream",
    ),
    "stream_options of the wrong type": (
        json.dumps({"model": "demo/small", "messages": MESSAGES, "stream": True, "stream_options": 1}).encode(),
        "stream_options",
    ),
}


@pytest.mark.parametrize("case", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_bad_input_is_a_400_that_names_the_field(proxy, upstream, case):
    body, param = case

    answer = await proxy.post("/chat/completions", body)

    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert answer.error["message"]
    assert upstream.requests == []


EMBEDDING_MISTAKES = [
    ({}, "input"),
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": ""}, "input"),
    ({"input": ["a", 1]}, "input"),
    ({"input": {"a": 1}}, "input"),
    ({"input": "a", "dimensions": 0}, "dimensions"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
]


@pytest.mark.parametrize(("fields", "param"), EMBEDDING_MISTAKES)
async def test_bad_embedding_input_is_a_400_that_names_the_field(proxy, fields, param):
    answer = await proxy.post("/embeddings", {"model": "demo/small", **fields})

    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("model", ["nope", "nope/small", "demo/", "/small", "demo"])
async def test_an_unknown_model_is_a_404_that_names_it(proxy, model):
    answer = await proxy.chat(model, "hi")

    assert answer.status == 404
    assert (answer.error["code"], answer.error["param"]) == ("model_not_found", "model")
    assert model in answer.error["message"]


async def test_an_ignored_model_is_not_served(make_proxy, upstream):
    provider = {"base_url": upstream.url, "exclude_models": ["gpt-*"], "include_models": ["gpt-5"]}
    proxy = await make_proxy({"providers": {"demo": provider}})

    assert (await proxy.chat("demo/gpt-4", "hi")).status == 404
    assert (await proxy.chat("demo/gpt-5", "hi")).status == 200
    assert (await proxy.chat("demo/small", "hi")).status == 200


@pytest.mark.parametrize("size", [3_000, 8_000_000])
async def test_an_oversized_body_is_a_413_the_client_gets_to_read(make_proxy, upstream, size):
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url}}, "server": {"max_body_bytes": 2048}})

    answer = await proxy.chat("demo/small", "x" * size)

    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"


@pytest.mark.parametrize("path", ["/nope", "/chat/completion", "/models/../../etc/passwd"])
async def test_an_unknown_path_is_a_404_in_shape(proxy, path):
    answer = await proxy.post(path, {})

    assert answer.status in (404, 405)
    assert answer.error["type"] == "invalid_request_error"


async def test_a_wrong_method_is_a_405_in_shape(proxy):
    answer = await proxy.get("/chat/completions")

    assert answer.status == 405
    assert "POST" in answer.headers["allow"]
    assert answer.error["message"]


OPENAI, ANTHROPIC, GOOGLE = {"code", "param"}, {"type", "request_id"}, {"status", "details"}
SHAPES = {
    "/v1/messages": ANTHROPIC,
    "/messages": ANTHROPIC,
    "/v1/messages/": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
    "/v1/messages/batches": ANTHROPIC,
    "/v1beta/models/m:generateContent": GOOGLE,
    "/v1beta/models/m:countTokens": GOOGLE,
    "/v1beta/cachedContents": GOOGLE,
    "/v1beta/files/x": GOOGLE,
    "/v1/models/m:streamGenerateContent": GOOGLE,
    "/v1/responses": OPENAI,
    "/v1/responses/x/y/z": OPENAI,
    "/v1/chat/completions": OPENAI,
    "/v1/completions": OPENAI,
    "/v1/embeddings": OPENAI,
    "/v1/models": OPENAI,
    "/v1/nothing": OPENAI,
    "/": OPENAI,
    "/nothing": OPENAI,
}


@pytest.mark.parametrize(("path", "shape"), SHAPES.items())
async def test_a_wrong_method_or_path_is_told_in_the_format_of_the_path(proxy, path, shape):
    headers = {"authorization": f"Bearer {proxy.key}"}
    response = await proxy.client.request("PUT", proxy.url.removesuffix("/v1") + path, headers=headers)

    assert response.status_code in (404, 405)
    body = response.json()
    assert shape <= body.keys() | body["error"].keys()
    assert [shape <= body.keys() | body["error"].keys() for shape in (OPENAI, ANTHROPIC, GOOGLE)].count(True) == 1


async def test_the_clients_own_mistake_keeps_the_upstreams_words(proxy, upstream):
    error = {"message": "bad tool", "type": "invalid_request_error", "param": "tools", "code": "bad_tool", "extra": [1]}
    upstream.responds(400, {"error": error})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 400
    assert answer.error == error
    assert upstream.keys_seen == ["key-a"], "a client's mistake is not tried on another credential"


async def test_an_upstream_that_repeats_a_key_does_not_give_it_away(make_proxy, upstream):
    keys = ["first-key-of-many", "second-key-of-many"]
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url, "api_keys": keys}}})
    upstream.responds(400, {"error": {"message": f"Incorrect API key provided: {keys[0]}", "also": [keys[1]]}})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 400
    assert [key for key in keys if key.encode() in answer.body] == []
    assert "[redacted]" in answer.error["message"]


async def test_an_unknown_upstream_model_is_a_404(proxy, upstream):
    upstream.responds(404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}})

    answer = await proxy.chat("demo/x", "hi")

    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_a_wrong_upstream_path_is_the_proxys_problem(proxy, upstream):
    upstream.responds(404, body=b"404 page not found", headers={"content-type": "text/plain"})

    assert (await proxy.chat("demo/small", "hi")).status == 502


async def test_a_host_that_cannot_be_reached_is_a_502(make_proxy):
    proxy = await make_proxy({"providers": {"demo": {"base_url": "http://127.0.0.1:1/v1", "api_keys": ["key-a"]}}})

    answer = await proxy.chat("demo/small", "hi")

    assert answer.status == 502
    assert "127.0.0.1" not in answer.error["message"]


async def test_a_provider_without_a_key_says_so(make_proxy, upstream):
    proxy = await make_proxy({"providers": {"groq": {"preset": "groq"}}})

    answer = await proxy.chat("groq/x", "hi")

    assert (answer.status, answer.error["code"]) == (503, "no_credential")


async def test_an_endpoint_the_vendor_does_not_have_is_a_400(make_proxy):
    import proxy_core

    class OnlyChat:
        PLUGIN = proxy_core.PluginInfo(name="only_chat", api=1)

        @staticmethod
        @proxy_core.hookimpl
        def proxy_providers(ctx):
            return [proxy_core.Provider(name="talk", encode=lambda call, c: None, dialects=["openai_chat"])]

    proxy = await make_proxy({}, modules=[OnlyChat])

    answer = await proxy.post("/embeddings", {"model": "talk/x", "input": "a"})

    assert (answer.status, answer.error["param"]) == (400, "model")
