"""Names with ``*`` in ``[models]``: agents insist on their own names, and any deployment can serve them."""

import pytest

MODELS = {"fast": "up/small", "claude-*": ["up/big"], "gpt-*": ["up/gpt-*"]}


@pytest.fixture
async def make(make_proxy, upstream):
    async def make(**tables):
        upstream.for_path("/models").responds(json_body={"data": [{"id": "small"}, {"id": "big"}, {"id": "gpt-4.1"}]})
        providers = {"up": {"base_url": upstream.url, "api_keys": ["key-a"], "exclude_models": ["gpt-3*"]}}
        return await make_proxy({"providers": providers, "models": MODELS, **tables})

    return make


def asked(upstream):
    return [request.json["model"] for request in upstream.requests if request.path.endswith("/completions")]


async def test_the_upstream_gets_its_own_name_and_the_books_have_the_deployment(make, upstream):
    proxy = await make()

    for name in ("claude-a", "claude-b", "gpt-4.1"):
        answer = await proxy.chat(name, "hi")
        assert (answer.status, answer.text) == (200, "hello")
        assert answer.headers["x-proxy-model"] == {"gpt-4.1": "gpt-4.1"}.get(name, "big")

    assert asked(upstream) == ["big", "big", "gpt-4.1"]
    counted = {(count.provider, count.model): count.requests for count in proxy.process.counters.requests()}
    assert counted == {("up", "big"): 2, ("up", "gpt-4.1"): 1}


async def test_a_fallback_serves_all_others_and_a_reload_changes_it(make, upstream):
    proxy = await make(models={"*": "up/small", "claude-*": "up/big"})
    await proxy.chat("whatever", "hi")
    await proxy.chat("nobody/whatever", "hi")
    await proxy.reload(models={"what*": "up/big"})
    await proxy.chat("whatever", "hi")

    assert asked(upstream) == ["small", "small", "big"]
    assert (await proxy.chat("other", "hi")).error["code"] == "model_not_found"


async def test_a_name_that_a_pattern_may_not_become_is_not_available(make, upstream):
    answer = await (await make()).chat("gpt-3.5", "hi")

    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "'gpt-3.5' is not available here" in answer.error["message"]
    assert asked(upstream) == []


async def test_a_clients_limits_are_about_the_names_that_it_uses(make, upstream):
    clients = {"test": {"key": "test-client-key", "models": ["claude-a*"]}}
    proxy = await make(clients=clients)

    allowed, other, target = [await proxy.chat(name, "hi") for name in ("claude-a1", "claude-b", "up/big")]

    assert allowed.status == 200
    assert [(a.status, a.error["code"]) for a in (other, target)] == [(403, "model_not_allowed")] * 2
    assert (await proxy.get("/models")).json["data"] == []
    assert (await proxy.get("/models/claude-a1")).status == 200
    assert (await proxy.get("/models/claude-b")).status == 404


async def test_lists_have_no_patterns_but_a_name_that_one_serves_can_be_looked_up(make):
    long = {"deployments": ["up/big"], "context_length": 123_456}
    proxy = await make(models={**MODELS, "claude-*": long})

    listed = [model["id"] for model in (await proxy.get("/models")).json["data"]]
    found = await proxy.get("/models/claude-opus-4-8")

    assert listed == ["fast", "up/big", "up/gpt-4.1", "up/small"]
    assert found.json["id"] == "claude-opus-4-8"
    assert found.json["context_length"] == 123_456
    assert (await proxy.get("/models/gpt-3.5")).status == 404
    assert (await proxy.get("/models/gemini-x")).status == 404


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("gemini-2.5-pro", '"gemini-*" = "up/small"'),
        ("gpt4.1", '"gpt4.1" = "up/gpt-4.1"'),
        ("fsat", '"fsat" = "up/small"'),
        ('"-evil', '"\\"-*" = "up/small"'),
        ("nobody/big", '"nobody/big" = "up/big"'),
        ("up/bug", None),
        ("gpt-3.5", None),
    ],
)
async def test_for_a_name_without_an_entry_the_error_has_the_line_to_add(make, upstream, model, line):
    proxy = await make()
    upstream.for_path("/chat/completions").responds(404, {"error": {"message": "no", "code": "model_not_found"}})

    message = (await proxy.chat(model, "hi")).error["message"]

    if line is None:
        assert "[models]" not in message
    else:
        assert message.endswith(f"To serve it, add to [models] in proxy-core.toml: {line}")


async def test_why_and_a_dry_run_follow_a_pattern(make):
    proxy = await make(admin={"key": "an-admin-key"})

    base, key = proxy.url.removesuffix("/v1"), {"authorization": "Bearer an-admin-key"}
    why = await proxy.client.get(f"{base}/admin/why?model=claude-x", headers=key)
    dry = await proxy.client.post(f"{base}/admin/explain", json={"model": "gpt-5"}, headers=key)

    assert why.json()["processes"][0]["deployments"][0]["deployment"] == "up/big"
    assert dry.json()["processes"][0]["steps"][0]["deployment"] == "up/gpt-5"
