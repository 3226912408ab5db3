"""A model that does not exist: what the client is told to try, and what its operator lacks."""

import pytest

LIST = {"data": [{"id": name} for name in ("gpt-4o", "gpt-4o-mini", "llama-3.3-70b-versatile", "o3", "o4-mini")]}


@pytest.fixture
async def listing(make_proxy, upstream):
    """Makes a proxy whose provider ``up`` lists five models; ``keyless`` has settings, but no key."""

    async def make(**tables):
        upstream.for_path("/models").responds(json_body=LIST)
        upstream.for_path("/chat/completions").responds()
        providers = {
            "up": {"base_url": upstream.url, "api_keys": ["key-a"]},
            "groq": {"preset": "groq", "models": {"gpt-4o-secret": {}}},
        }
        models = {"smart": ["up/o3"], "gpt-4o-lost": ["groq/x"]}
        return await make_proxy({"providers": providers, "models": models, **tables})

    return make


@pytest.mark.parametrize(
    ("model", "meant"),
    [("gpt-4", "up/gpt-4o"), ("up4/gpt-4o", "up/gpt-4o"), ("smrt", "smart"), ("llama-3.3-70b", "up/llama-3.3-70b-v")],
)
async def test_it_may_have_been_meant(listing, model, meant):
    proxy = await listing()

    answer = await proxy.chat(model, "hi")

    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert f"The model {model!r} does not exist." in answer.error["message"]
    assert f"Did you mean '{meant}" in answer.error["message"]
    assert "more are in the list of models" in answer.error["message"]
    assert "secret" not in answer.error["message"], "nothing without a credential is suggested"
    assert "lost" not in answer.error["message"]


async def test_models_that_were_not_meant_are_counted(listing):
    proxy = await listing()

    message = (await proxy.chat("zzz", "hi")).error["message"]

    assert "Known here: smart, up/gpt-4o, up/gpt-4o-mini." in message
    assert "3 more are in the list" in message


async def test_a_preset_without_a_key_names_its_variable(listing):
    proxy = await listing()

    answer = await proxy.chat("mistral/mistral-large", "hi")
    configured = await proxy.chat("groq/llama", "hi")

    assert answer.status == 404
    assert "There is no key for mistral: set MISTRAL_API_KEY." in answer.error["message"]
    assert configured.error["code"] == "no_credential"
    assert "set GROQ_API_KEY" in configured.error["message"]
    assert configured.headers["x-should-retry"] == "false"
    assert "retry-after" not in configured.headers


async def test_the_upstreams_own_404_is_added_to(listing, upstream):
    proxy = await listing()
    upstream.for_path("/chat/completions").queue.clear()
    words = "The model `gpt-4p` does not exist or you do not have access to it."
    upstream.for_path("/chat/completions").responds(404, {"error": {"message": words, "code": "model_not_found"}})

    answer = await proxy.chat("up/gpt-4p", "hi")
    unlike = await proxy.chat("up/zzz", "hi")

    assert answer.error["message"].startswith(words + " Did you mean 'up/gpt-4o'")
    assert unlike.error["message"] == words


async def test_a_client_that_is_limited_to_some_models_is_told_of_no_others(listing):
    clients = {"test": {"key": "test-client-key", "models": ["up/o3", "gpt-*"]}}
    proxy = await listing(clients=clients)

    answer = await proxy.chat("gpt-4", "hi")

    assert answer.status in (403, 404)
    assert "Did you mean" not in answer.error["message"]
    assert "Known here" not in answer.error["message"]


async def test_it_is_told_in_geminis_words_too(listing):
    proxy = await listing()

    answer = await proxy.post("/models/gpt-4:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]})

    assert (answer.status, answer.error["status"]) == (404, "NOT_FOUND")
    assert "Did you mean 'up/gpt-4o'" in answer.error["message"]


async def test_without_any_key_that_is_what_is_told(make_proxy):
    proxy = await make_proxy({"providers": {"groq": {"preset": "groq"}}})

    answer = await proxy.chat("gpt-4", "hi")

    assert answer.status == 404
    assert "no provider has a key" in answer.error["message"]


UNREAD = {
    "a refusal": ({"status": 401}, "up's list of models cannot be read: status 401"),
    "a page": ({"body": b"<p>Log in"}, "up's list of models cannot be read: unreadable"),
    "nothing": ({"json_body": {"data": []}}, "up's list of models is empty"),
}


@pytest.mark.parametrize(("script", "told"), UNREAD.values(), ids=UNREAD)
async def test_a_list_that_cannot_be_read_is_not_taken_for_a_missing_key(make_proxy, upstream, script, told):
    upstream.for_path("/models").responds(**script)
    proxy = await make_proxy({"providers": {"up": {"base_url": upstream.url, "api_keys": ["key-a"]}}})

    message = (await proxy.chat("small", "hi")).error["message"]

    assert told in message
    assert "no provider has a key" not in message


async def test_a_provider_that_is_away_is_named_with_the_cause(make_proxy):
    proxy = await make_proxy({"providers": {"up": {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["key-a"]}}})

    message = (await proxy.chat("small", "hi")).error["message"]

    assert "up's list of models cannot be read: the connection was refused." in message
