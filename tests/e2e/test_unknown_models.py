"""A model that does not exist: what the client is told to try, and what its operator lacks."""

import tomllib

import pytest

from proxy_core.testing.proxy import answer
from proxy_plugin_litellm.names import KEY_ONLY
from proxy_plugin_openai_compat.quirks import PACKAGES, PRESETS

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


# --- The same at every endpoint of a dialect ---------------------------------------------

SAID = [{"role": "user", "content": "hi"}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ANTHROPIC, GOOGLE = {"anthropic-version": "2023-06-01"}, {"x-goog-api-client": "google-genai-sdk/1.30.0"}


def places(model):
    """By dialect: its requests for a model, with the status of an unknown one and the error's type or status."""
    messages = {"model": model, "messages": SAID, "max_tokens": 5}
    return {
        "openai": [
            ("/chat/completions", {"model": model, "messages": SAID}, {}, 404, "invalid_request_error"),
            ("/chat/completions", {"model": model, "messages": SAID, "stream": True}, {}, 404, "invalid_request_error"),
            ("/responses", {"model": model, "input": "hi"}, {}, 404, "invalid_request_error"),
            ("/responses", {"model": model, "input": "hi", "stream": True}, {}, 404, "invalid_request_error"),
            ("/responses/input_tokens", {"model": model, "input": "hi"}, {}, 404, "invalid_request_error"),
            (f"/models/{model}", None, {}, 404, "invalid_request_error"),
        ],
        "anthropic": [
            ("/messages", messages, {}, 400, "not_found_error"),
            ("/messages", {**messages, "stream": True}, {}, 400, "not_found_error"),
            ("/messages/count_tokens", {"model": model, "messages": SAID}, {}, 400, "not_found_error"),
            # The address itself does not exist: the SDK's NotFoundError.
            (f"/models/{model}", None, ANTHROPIC, 404, "not_found_error"),
        ],
        "gemini": [
            (f"/../v1beta/models/{model}:generateContent", CONTENTS, {}, 404, "NOT_FOUND"),
            (f"/../v1beta/models/{model}:streamGenerateContent?alt=sse", CONTENTS, {}, 404, "NOT_FOUND"),
            (f"/../v1beta/models/{model}:countTokens", CONTENTS, {}, 404, "NOT_FOUND"),
            (f"/../v1beta/models/{model}", None, GOOGLE, 404, "NOT_FOUND"),
        ],
    }


async def ask(proxy, path, body, headers):
    if body is not None:
        return await proxy.post(path, body, headers=headers)
    headers = {"authorization": f"Bearer {proxy.key}", **headers}
    return answer(await proxy.client.get(proxy.url + path, headers=headers))


@pytest.mark.parametrize("model", ["claude-sonnet-5", "gpt-5.5", "smrt", "claude-opus-4-8[1m]", "none/such-model"])
@pytest.mark.parametrize("dialect", places(""))
async def test_every_endpoint_of_a_dialect_tells_the_same(listing, dialect, model):
    proxy = await listing()
    messages = set()

    for path, body, headers, status, kind in places(model)[dialect]:
        refused = await ask(proxy, path, body, headers)
        error = refused.json["error"]
        assert (refused.status, error.get("type") or error["status"]) == (status, kind), path
        assert refused.headers["x-should-retry"] == "false"
        messages.add(error["message"].replace(" Models are named 'provider/model'.", ""))

    (message,) = messages
    plain = model.removesuffix("[1m]") if dialect == "anthropic" else model
    assert message.startswith(f"The model {plain!r} does not exist. ")


@pytest.mark.parametrize("model", ["claude-sonnet-5", "gpt-5.5", "o9", "claude-opus-4-8[1m]", "none/such-model"])
async def test_the_line_that_is_advised_serves_the_model_everywhere(listing, model):
    line = (await (await listing()).chat(model, "hi")).error["message"].partition("proxy-core.toml: ")[2]
    proxy = await listing(models=tomllib.loads(line))

    for path, body, headers, *_ in (place for of_dialect in places(model).values() for place in of_dialect):
        served = await ask(proxy, path, body, headers)
        assert served.status == 200 or "does not exist" not in served.json["error"]["message"], path


async def test_a_client_that_is_limited_is_told_of_no_others_anywhere(listing):
    proxy = await listing(clients={"test": {"key": "test-client-key", "models": ["up/o3", "gpt-*"]}})

    for path, body, headers, *_ in (place for of_dialect in places("gpt-4").values() for place in of_dialect):
        message = (await ask(proxy, path, body, headers)).json["error"]["message"]
        assert "Did you mean" not in message
        assert "Known here" not in message


#: What upstreams of either format say of a model that they do not have.
NOT_FOUND = {
    "a code": {"message": "Gone.", "code": "model_not_found"},
    "words": {"message": "The model `m` does not exist"},
    "Anthropic's": {"message": "model: m", "type": "not_found_error"},
    "its code alone": {"message": "This model was retired.", "code": "not_found_error"},
}


@pytest.mark.parametrize("provider", ["up", "anthropic"])
@pytest.mark.parametrize("error", NOT_FOUND.values(), ids=NOT_FOUND)
@pytest.mark.parametrize("dialect", places(""))
async def test_an_upstreams_404_for_a_model_is_the_same_again(make_proxy, upstream, dialect, error, provider):
    """Also while the model cools down, and whatever the upstream's format."""
    upstream.for_path("/models").responds(json_body=LIST)
    at = {"base_url": upstream.url, "api_keys": ["key-a"], "discover": False}
    proxy = await make_proxy({"providers": {provider: at}})
    upstream.responds(404, {"type": "error", "error": error})
    path, body, _, status, kind = places(f"{provider}/m")[dialect][0]

    for _ in range(2):
        refused = await proxy.post(path, body)

        told = refused.json["error"]
        assert (refused.status, told.get("type") or told["status"]) == (status, kind)
        assert told["message"].startswith(error["message"])


async def test_another_404_is_the_operators_and_has_the_upstreams_words(listing, upstream):
    proxy = await listing()
    upstream.for_path("/chat/completions").queue.clear()
    upstream.for_path("/chat/completions").responds(404, {"error": {"message": "File Not Found", "code": 404}})

    refused = await proxy.chat("up/gpt-4o", "hi")

    assert refused.status == 502
    assert refused.error["message"] == "up answered 404: its base URL may be wrong. Message: File Not Found"


async def test_a_provider_that_another_package_would_serve_names_that_package(listing):
    proxy = await listing(plugins={"disabled": ["litellm", "anthropic"]})

    answer = await proxy.chat("cohere/command-r", "hi")

    assert answer.status == 404
    assert "cohere needs one more package: pip install proxy-plugin-litellm." in answer.error["message"]
    assert "pip install proxy-plugin-anthropic" in (await proxy.chat("anthropic/x", "hi")).error["message"]


async def test_a_key_that_another_package_would_use_names_that_package(make_proxy):
    off = {"plugins": {"disabled": ["litellm", "anthropic"]}}
    proxy = await make_proxy(
        off, environ={"COHERE_API_KEY_2": "k" * 20, "ANTHROPIC_API_KEY": "k" * 20, "NOBODY_API_KEY": "k" * 20}
    )

    assert {
        "COHERE_API_KEY_2 is not used: pip install proxy-plugin-litellm",
        "ANTHROPIC_API_KEY is not used: pip install proxy-plugin-anthropic",
        "NOBODY_API_KEY is not used: there is no provider of that name",
    } <= set(proxy.proxy.warnings)


@pytest.mark.parametrize(("name", "preset"), [("together_ai", "together"), ("fireworks_ai", "fireworks")])
async def test_presets_have_litellms_names_too(make_proxy, name, preset):
    proxy = await make_proxy({}, environ={f"{name.upper()}_API_KEY": "k" * 20})

    assert PRESETS[name] is PRESETS[preset]
    assert proxy.proxy.catalog.owner("proxy_providers", name) == "openai_compat"


async def test_litellm_serves_nothing_without_a_key_nor_instead_of_another_plugin(make_proxy):
    proxy = await make_proxy(
        {"providers": {"perplexity": {"base_url": "https://p.example/v1", "api_keys": ["k" * 20]}}},
        environ={"ANTHROPIC_API_KEY": "k" * 20, "GEMINI_API_KEY": "k" * 20},
    )
    owners = {name: proxy.proxy.catalog.owner("proxy_providers", name) for name in proxy.proxy.catalog.providers}

    assert (owners["perplexity"], owners["anthropic"], owners["gemini"]) == ("openai_compat", "anthropic", "gemini")
    assert "cohere" not in owners


def test_both_plugins_know_the_same_names():
    of_litellm = {name for name, package in PACKAGES.items() if package == "proxy-plugin-litellm"}

    assert of_litellm == {*KEY_ONLY}
    assert not of_litellm & {*PRESETS}
