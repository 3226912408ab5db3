"""Destinations, headers and credentials come from settings; a client cannot steer them."""

import pytest

GUARD = {
    "api_base": "http://127.0.0.1:1/",
    "base_url": "http://127.0.0.1:1/",
    "api_key": "client-chosen",
    "headers": {"x-evil": "1", "authorization": "Bearer client-chosen"},
    "extra_headers": {"x-evil": "1"},
    "extra_query": {"evil": "1"},
    "organization": "org-evil",
    "timeout": 0.001,
    "num_retries": 99,
    "custom_llm_provider": "evil",
    "mock_response": "evil",
    "litellm_params": {"api_base": "http://127.0.0.1:1/"},
    "proxy_server_request": {"url": "http://127.0.0.1:1/"},
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_body_cannot_choose_where_a_request_goes_or_with_which_key(proxy, upstream, stream):
    answer = await proxy.chat("demo/small", "hi", stream=stream, **GUARD)

    assert answer.text == "hello"
    assert upstream.last.path == "/v1/chat/completions"
    assert upstream.last.key == "key-a"
    assert "x-evil" not in upstream.last.headers
    assert not GUARD.keys() & upstream.last.json.keys()
    assert b"evil" not in upstream.last.body


async def test_a_provider_with_wrong_settings_takes_neither_the_others_nor_the_guard_with_it(make_proxy, upstream):
    wrong = {"base_url": upstream.url, "dialects": ["openai_chta"]}
    proxy = await make_proxy({"providers": {"demo": {"base_url": upstream.url}, "wrong": wrong}})

    answer = await proxy.chat("demo/small", "hi", **GUARD)

    assert answer.text == "hello"
    assert not GUARD.keys() & upstream.last.json.keys()
    assert (await proxy.chat("wrong/small", "hi")).status == 404


@pytest.mark.parametrize("place", ["extra_body", "metadata", "optional_params", "own_extension"])
async def test_nested_fields_do_not_leave_either(proxy, upstream, place):
    await proxy.chat("demo/small", "hi", **{place: {"kept": [{"x": 1, **GUARD}], **GUARD}})

    assert upstream.last.json[place] == {"kept": [{"x": 1}]}


@pytest.mark.parametrize("path", ["/embeddings", "/completions"])
async def test_no_endpoint_passes_them_on(proxy, upstream, path):
    await proxy.post(path, {"model": "demo/small", "input": "a", "prompt": "a", **GUARD})

    assert not GUARD.keys() & upstream.last.json.keys()


async def test_the_conversation_and_its_tools_may_use_any_word(proxy, upstream):
    schema = {"type": "object", "properties": {"headers": {"type": "object"}, "api_key": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "call", "parameters": schema}}]
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    await proxy.chat("demo/small", "timeout and api_base", tools=tools, response_format=response_format)

    assert upstream.last.json["tools"] == tools
    assert upstream.last.json["response_format"] == response_format


@pytest.mark.parametrize(("action", "sent"), [("keep", 0), ("remove", None), ("set", 1.0)])
async def test_temperature_zero_becomes_what_settings_say(make_proxy, upstream, action, sent):
    provider = {"base_url": upstream.url}
    proxy = await make_proxy({"providers": {"demo": provider}, "plugins": {"mirrowel": {"temperature_zero": action}}})

    await proxy.chat("demo/small", "hi", temperature=0)
    zero = upstream.last.json.get("temperature")
    await proxy.chat("demo/small", "hi", temperature=0.5)

    assert zero == sent
    assert upstream.last.json["temperature"] == 0.5


async def test_no_header_of_the_client_reaches_the_upstream(proxy, upstream):
    sent = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-for": "1.2.3.4",
        "forwarded": "host=evil.example",
        "openai-organization": "org-evil",
        "cookie": "session=1",
        "x-custom": "1",
        "user-agent": "somebody/1",
        "x-api-key": "other",
    }

    await proxy.post("/chat/completions", _body(), headers=sent)

    got = upstream.last.headers
    ours = {"user-agent", "accept-encoding", "x-proxy-core-hops"}
    assert set(got) == {"host", "authorization", "content-type", "content-length"} | ours
    assert got["user-agent"].startswith("proxy-core/")
    assert got["authorization"] == "Bearer key-a"


async def test_the_host_header_decides_nothing(proxy, upstream):
    answer = await proxy.post("/chat/completions", _body(), headers={"host": "evil.example"})

    assert answer.status == 200


async def test_a_model_name_cannot_leave_its_provider(proxy, upstream):
    for model in ("demo/../../admin", "demo/x?y=1#z", "demo/http://127.0.0.1:1/"):
        await proxy.chat(model, "hi")
        assert upstream.last.path == "/v1/chat/completions"


async def test_cookies_of_an_upstream_stay_nowhere(proxy, upstream):
    upstream.responds(headers={"set-cookie": "a=1; Path=/"})

    answers = [await proxy.chat("demo/small", "hi") for _ in range(2)]

    assert "cookie" not in upstream.last.headers
    assert all("set-cookie" not in answer.headers for answer in answers)


async def test_only_our_own_headers_reach_the_client(proxy, upstream):
    for_client = {"x-ratelimit-remaining-requests": "1", "openai-organization": "org", "x-request-id": "upstream-id"}
    upstream.responds(headers=for_client)

    answer = await proxy.chat("demo/small", "hi")

    plain = {"content-type", "content-length", "date", "request-id", "x-request-id"}
    own = {"x-proxy-provider", "x-proxy-model", "x-proxy-credential", "x-proxy-attempts"}
    assert set(answer.headers) == plain | own | {"x-proxy-upstream-request-id"}
    assert answer.headers["x-request-id"] != "upstream-id"


async def test_a_redirect_is_not_followed(proxy, upstream):
    upstream.responds(307, headers={"location": upstream.url + "/elsewhere"})

    await proxy.chat("demo/small", "hi")

    assert {request.path for request in upstream.requests} == {"/v1/chat/completions"}


async def test_headers_from_settings_are_sent(make_proxy, upstream):
    provider = {"base_url": upstream.url, "headers": {"X-Title": "mine", "HTTP-Referer": "me"}}
    proxy = await make_proxy({"providers": {"demo": provider}})

    await proxy.chat("demo/small", "hi")

    assert upstream.last.headers["x-title"] == "mine"
    assert "authorization" not in upstream.last.headers


def _body():
    return {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}


#: What a gateway would read as another model, route or vendor.
STEERING = {
    "models": ["forbidden"],
    "route": "fallback",
    "provider": {"order": ["forbidden"], "allow_fallbacks": True},
    "fallbacks": [{"model": "forbidden"}],
    "preset": "forbidden",
    "plugins": [{"id": "auto-router", "allowed_models": ["forbidden"]}],
    "Model": "forbidden",
    "MODELS": ["forbidden"],
    "provider_options": {"gateway": {"models": ["forbidden"]}},
    "providerOptions": {"gateway": {"models": ["forbidden"]}},
    "fallback_models": ["forbidden"],
    "deployment_id": "forbidden",
    "engine": "forbidden",
    "config": "forbidden",
    "extra_body": {"model": "forbidden", "models": ["forbidden"]},
    "metadata": {"note": [{"model": "forbidden"}]},
    "additional_params": {"temperature": 1, "a": [{"models": ["forbidden"]}]},
    "other": '{"model": "forbidden"}',
    "tools": [{"type": "image_generation", "model": "forbidden"}],
    "transforms": ["forbidden"],
}


@pytest.fixture
async def limited(make_proxy, upstream):
    clients = {
        "test": {"key": "test-client-key", "models": ["demo/small*"]},
        "other": {"key": "other-client-key"},
        "poor": {"key": "poor-client-key", "cost_per_day": 1.0},
    }
    provider = {"base_url": upstream.url, "api_keys": ["key-a"]}
    return await make_proxy({"providers": {"demo": provider}, "clients": clients})


@pytest.mark.parametrize("name", STEERING)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_client_limited_to_some_models_cannot_name_others_elsewhere(limited, upstream, name, stream):
    answer = await limited.chat("demo/small", "hi", stream=stream, seed=7, **{name: STEERING[name]})

    assert answer.status == 200
    assert upstream.last.json["model"] == "small"
    assert upstream.last.json["seed"] == 7
    assert b"forbidden" not in upstream.last.body


NAMED = {
    "extra_body": "extra_body.model, extra_body.models",
    "metadata": "metadata.note.model",
    "provider_options": "provider_options",
    "tools": "tools.model",
}


@pytest.mark.parametrize("name", STEERING)
async def test_the_response_names_what_was_removed(limited, name):
    answer = await limited.chat("demo/small", "hi", **{name: STEERING[name]})

    assert answer.headers["x-proxy-dropped"] == NAMED.get(name, name)


async def test_also_what_no_client_may_say_and_nothing_else(limited):
    odd = {"name\r\nx-evil: 1": {"api_key": 1}}
    fields = {"headers": {"x": "1"}, "extra_body": {"a": 1, "api_base": "x"}, "seed": 7, **odd}
    answer = await limited.chat("demo/small", "hi", **fields)
    plain = await limited.chat("demo/small", "hi", seed=7)

    named = answer.headers["x-proxy-dropped"].split(", ")
    assert sorted(named) == ["extra_body.api_base", "headers", "namex-evil: 1.api_key"]
    assert "x-evil" not in answer.headers
    assert "x-proxy-dropped" not in plain.headers


@pytest.mark.parametrize("name", STEERING)
async def test_a_client_with_so_many_dollars_a_day_cannot_choose_a_model_that_is_not_counted(limited, upstream, name):
    body = {**_body(), name: STEERING[name]}
    answer = await limited.post("/chat/completions", body, key="poor-client-key")

    assert answer.status == 200
    assert b"forbidden" not in upstream.last.body


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": ["flex"]}, "service_tier"),
        ({"serviceTier": "flex"}, "serviceTier"),
        ({"speed": "fast"}, "speed"),
        ({"extra_body": {"service_tier": "flex"}}, "extra_body.service_tier"),
        ({"service_tier": "flex"}, None),
        ({"service_tier": "auto", "speed": "standard"}, None),
    ],
)
async def test_nor_a_dearer_way_to_be_served(limited, upstream, fields, left_out):
    body = {**_body(), "seed": 7, **fields}
    answer = await limited.post("/chat/completions", body, key="poor-client-key")
    got = upstream.last.json
    await limited.post("/chat/completions", body, key="other-client-key")

    assert answer.headers.get("x-proxy-dropped") == left_out
    assert fields.items() <= upstream.last.json.items()
    assert (fields.items() <= got.items()) == (left_out is None)
    assert (got["model"], got["seed"]) == ("small", 7)


@pytest.mark.parametrize(("path", "body"), [("/completions", {"prompt": "a"}), ("/embeddings", {"input": "a"})])
async def test_nor_at_another_endpoint(limited, upstream, path, body):
    await limited.post(path, {"model": "demo/small", **body, **STEERING})

    assert upstream.last.json["model"] == "small"
    assert b"forbidden" not in upstream.last.body


async def test_a_client_that_may_use_every_model_keeps_those_fields(limited, upstream):
    kept = {name: STEERING[name] for name in ("models", "route", "provider", "plugins", "preset")}

    await limited.post("/chat/completions", {**_body(), **kept}, key="other-client-key")

    assert kept.items() <= upstream.last.json.items()


async def test_a_limited_clients_conversation_may_use_any_word(limited, upstream):
    schema = {"type": "object", "properties": {"model": {"type": "string"}, "provider": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "call", "parameters": schema}}]

    await limited.chat("demo/small", '{"model": "x"}', tools=tools)

    assert upstream.last.json["tools"] == tools
    assert upstream.last.json["messages"][-1]["content"] == '{"model": "x"}'
