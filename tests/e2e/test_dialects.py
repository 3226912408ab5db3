"""A dialect of a plugin: it brings its addresses, its answers and its wording; the server names none."""

import json
from importlib.metadata import entry_points

import pytest
from msgspec.structs import replace

from proxy_core import (
    BadRequest,
    EncodedError,
    Operation,
    OperationResponse,
    Provider,
    json_bytes,
)
from proxy_core.dialects import openai_chat
from proxy_core.testing import plugin_with
from proxy_core.version import VERSION

CHAT = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}]}


async def show_head(request, services):
    head = request.head
    return OperationResponse(
        body={"client": head.client, "headers": dict(head.headers), "query": dict(head.query), "body": request.body},
        headers=[("x-made-by", "parrot")],
    )


async def list_names(request, services):
    models = await services.models()
    return OperationResponse(body={"names": [model.id for model in models]})


async def count(request, services):
    counted = await services.count_tokens(openai_chat.decode(request.body), request.body)
    return OperationResponse(body={"tokens": counted.tokens})


async def fail(request, services):
    if "json" in request.head.query:
        return OperationResponse(body=object())
    raise BadRequest("no") if "plain" in request.head.query else RuntimeError("a bug, and a secret")


async def warm(request, services):
    return OperationResponse(status=204)


def encode_error(error, request_id):
    return EncodedError(status=error.status, body=json_bytes({"squawk": error.message, "id": request_id}))


def from_header(head, body):
    return {**body, "model": head.headers.get("x-parrot-model", body.get("model"))}


PARROT = replace(
    openai_chat.DIALECT,
    name="parrot",
    paths=("/v1/squawk", "/v1/cages/{cage:path}:squawk"),
    read_request=from_header,
    encode_error=encode_error,
    recognizes=lambda head: "x-parrot" in head.headers,
    key_headers=("x-parrot-key",),
    key_parameters=("seed",),
    operations=(
        Operation(paths=("/v1/head",), answer=show_head, methods=("GET", "POST")),
        Operation(paths=("/v1/models",), answer=list_names, shared=True),
        Operation(paths=("/v1/cages/{cage:path}:count",), answer=count, methods=("POST",)),
        Operation(paths=("/v1/cages/{cage:path}",), answer=list_names),
        Operation(paths=("/v1/fail",), answer=fail),
        Operation(paths=("/v1/warm",), answer=warm, methods=("HEAD", "GET"), public=True),
        Operation(paths=("/v1/leak",), answer=list_names, public=True),
    ),
)


@pytest.fixture
async def proxy(make_proxy, upstream):
    tables = {
        "server": {"max_body_bytes": 2000},
        "providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}},
    }
    return await make_proxy(tables, modules=[plugin_with(proxy_dialects=[PARROT])])


def base(proxy):
    return proxy.url.removesuffix("/v1")


async def test_its_requests_go_to_a_provider_with_what_their_headers_say(proxy, upstream):
    chat = {"messages": CHAT["messages"]}
    for path in ("/squawk", "/cages/a/b:squawk"):
        answer = await proxy.post(path, chat, headers={"x-parrot-model": "demo/small"})
        assert answer.text == "hello"
    assert [request.json["model"] for request in upstream.requests] == ["small", "small"]


@pytest.mark.parametrize(
    ("headers", "query"), [({"x-parrot-key": "test-client-key"}, ""), ({}, "?seed=test-client-key&a=1")]
)
async def test_its_clients_put_their_key_where_they_do_and_it_never_sees_one(proxy, headers, query):
    answer = await proxy.client.get(f"{proxy.url}/head{query}", headers={"cookie": "test-client-key", **headers})

    assert (answer.status_code, answer.json()["client"]) == (200, "test")
    assert answer.headers["x-made-by"] == "parrot"
    assert answer.headers["x-request-id"]
    assert "test-client-key" not in answer.text
    assert answer.json()["headers"].get("x-parrot-key", "") == ""
    assert answer.json()["query"] == ({"seed": "", "a": "1"} if query else {})


async def test_a_body_is_json_and_bounded(proxy):
    assert (await proxy.post("/head", {"a": 1})).json["body"] == {"a": 1}
    not_json = await proxy.post("/head", b"[")
    large = await proxy.post("/head", {"a": "b" * 2000})

    assert (not_json.status, large.status) == (400, 413)
    assert "squawk" in not_json.json
    assert "squawk" in large.json


async def test_a_shared_address_answers_each_in_its_own_words(proxy):
    own = await proxy.client.get(
        f"{proxy.url}/models", headers={"x-parrot": "1", "authorization": f"Bearer {proxy.key}"}
    )
    common = await proxy.get("/models")

    assert "names" in own.json()
    assert common.json["object"] == "list"


async def test_an_address_that_ends_in_a_parameter_comes_last_and_has_its_own_methods(proxy):
    counted = await proxy.post("/cages/a/b:count", CHAT)
    listed = await proxy.get("/cages/a/b")
    elsewhere = await proxy.post("/cages/a/b:sing", CHAT)

    assert counted.json["tokens"] > 0
    assert "names" in listed.json
    assert elsewhere.status == 404


async def test_errors_are_in_its_words_to_its_own_clients_and_in_openais_to_others(proxy):
    refused = await proxy.get("/fail?plain=1")
    failed = await proxy.get("/fail")
    unwritable = await proxy.get("/fail?json=1")
    stranger = await proxy.client.get(f"{proxy.url}/head")
    unknown = await proxy.client.get(f"{base(proxy)}/nowhere", headers={"x-parrot": "1"})
    common = await proxy.client.get(f"{base(proxy)}/nowhere")

    assert (refused.status, refused.json["squawk"]) == (400, "no")
    assert (failed.status, "squawk" in failed.json) == (500, True)
    assert "secret" not in failed.body.decode()
    assert (unwritable.status, "squawk" in unwritable.json) == (500, True)
    assert (stranger.status_code, "squawk" in stranger.json()) == (401, True)
    assert (unknown.status_code, "squawk" in unknown.json()) == (404, True)
    assert (common.status_code, common.json()["error"]["type"]) == (404, "invalid_request_error")
    assert unknown.headers["x-request-id"] == unknown.json()["id"]


async def test_a_dialect_that_cannot_tell_its_own_clients_gets_none(make_proxy, caplog):
    def fails(head):
        raise RuntimeError("a bug")

    proxy = await make_proxy({}, modules=[plugin_with(proxy_dialects=[replace(PARROT, recognizes=fails)])])

    assert (await proxy.get("/models")).json["object"] == "list"
    assert (await proxy.get("/models")).json["object"] == "list"
    unknown = await proxy.client.get(f"{base(proxy)}/nowhere")
    assert (unknown.status_code, "error" in unknown.json()) == (404, True)
    told = [r.getMessage() for r in caplog.records if r.name == "proxy_core.dialects"]
    assert told == ["the dialect parrot failed to recognize a request"]


async def test_what_needs_no_key_tells_nothing(proxy):
    warmed = await proxy.client.head(f"{proxy.url}/warm")
    leak = await proxy.client.get(f"{proxy.url}/leak")

    assert (warmed.status_code, warmed.content) == (204, b"")
    assert leak.status_code == 401


async def test_a_model_that_is_not_the_clients_is_not_counted_or_listed(make_proxy, upstream):
    clients = {"test": {"key": "test-client-key", "models": ["other/*"]}}
    providers = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"], "models": {"small": {}}}}
    proxy = await make_proxy(
        {"clients": clients, "providers": providers}, modules=[plugin_with(proxy_dialects=[PARROT])]
    )

    assert (await proxy.post("/cages/a:count", CHAT)).status == 403
    assert (await proxy.get("/cages/a")).json == {"names": []}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": ["/v1/chat/completions"]}, "the path /v1/chat/completions (POST) is already provided by the core"),
        ({"operations": [Operation(paths=["/v1/models"], answer=warm)]}, "/v1/models (GET) is already provided by"),
    ],
)
async def test_an_address_is_one_dialects_unless_it_is_shared(make_proxy, changes, words):
    wrong = replace(PARROT, **changes)

    proxy = await make_proxy({}, modules=[plugin_with(proxy_dialects=[wrong])])

    assert words in skipped(proxy).reason


async def test_a_dialect_that_shares_an_address_and_recognizes_nothing_is_left_out(make_proxy):
    proxy = await make_proxy({}, modules=[plugin_with(proxy_dialects=[replace(PARROT, recognizes=None)])])

    assert "recognizes nothing" in skipped(proxy).reason


def skipped(proxy):
    """The plugin without which the proxy started."""
    (plugin,) = [p for p in proxy.proxy.catalog.plugins if p.state == "skipped"]
    assert f"plugin {plugin.name} is not used: {plugin.reason}" in proxy.proxy.warnings
    return plugin


async def test_a_provider_of_a_dialect_that_is_not_there_is_refused(make_proxy):
    provider = Provider(name="lost", encode=lambda call, credential: None, dialects=["parrot"])

    proxy = await make_proxy({}, modules=[plugin_with(proxy_providers=[provider])])

    assert "unknown dialect 'parrot'" in skipped(proxy).reason
    assert "lost" not in proxy.proxy.catalog.providers


# --- Without plugins, and with one at a time -----------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/m:generateContent",
        "/v1/models/m:generateContent",
        "/v1beta/models",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
    ],
)
async def test_a_dialect_whose_plugin_is_missing_is_a_404_in_openais_words(make_proxy, path):
    proxy = await make_proxy({"plugins": {"allowed": ["openai_compat"]}})
    headers = {"x-goog-api-key": proxy.key, "anthropic-version": "2023-06-01"}

    answer = await proxy.client.post(base(proxy) + path, json={"contents": []}, headers=headers)

    assert answer.status_code == 404
    error = json.loads(answer.content)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert path in error["message"]


PLUGINS = sorted(entry.name for entry in entry_points(group="proxy_core.plugins"))


@pytest.mark.parametrize("allowed", [[], *([name] for name in PLUGINS)], ids=lambda allowed: "".join(allowed) or "none")
async def test_the_core_starts_and_serves_alone_and_with_each_single_plugin(make_proxy, allowed):
    """Its own addresses answer; what needs a provider says that there is none, in OpenAI's words."""
    proxy = await make_proxy({"plugins": {"allowed": allowed}})

    assert [p.name for p in proxy.proxy.catalog.plugins if p.state == "active"] == ["core", *allowed]
    assert (await proxy.client.get(f"{base(proxy)}/healthz")).json() == {"status": "ok"}
    assert (await proxy.get("/models")).json["object"] == "list"
    counted = await proxy.post("/token-count", {"model": "a/b", "text": "hi"})
    asked = await proxy.chat("a/b", "hi")
    assert (counted.status, asked.status) == (404, 404)
    assert asked.error["code"] == "model_not_found"


# --- Paths of no dialect ------------------------------------------------------------------


def operation(path, answer=None, **more):
    async def default(request, services):
        return OperationResponse(body={"client": request.head.client, "version": services.status().version})

    return Operation(paths=[path], answer=answer or default, **more)


async def test_a_plugin_answers_at_paths_of_its_own(make_proxy):
    async def refuse(request, services):
        raise BadRequest("Not like this.", param="x")

    async def fail(request, services):
        raise ValueError("secret")

    operations = [operation("/v1/hello"), operation("/v1/refuse", refuse), operation("/v1/fail", fail)]
    proxy = await make_proxy({}, modules=[plugin_with(proxy_operations=operations)])
    hello, refused, failed = [await proxy.get(path) for path in ("/hello", "/refuse", "/fail")]

    assert hello.json == {"client": "test", "version": VERSION}
    assert (refused.status, refused.error["param"]) == (400, "x")
    assert (failed.status, "secret" in str(failed.json)) == (500, False)
    assert (await proxy.get("/hello", key="wrong")).status == 401


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/providers", "path /v1/providers belongs to the core itself"),
        ("/v1/models", "path /v1/models (GET) is already provided by the core itself"),
    ],
)
async def test_a_path_belongs_to_one_owner(make_proxy, path, told):
    operations = [operation(path), operation("/v1/twice")]

    proxy = await make_proxy({}, modules=[plugin_with(proxy_operations=operations)])

    assert told in skipped(proxy).reason
    assert (await proxy.get("/twice")).status == 404


async def test_a_plugin_with_one_path_twice_is_left_out(make_proxy):
    operations = [operation("/v1/twice"), operation("/v1/twice")]

    proxy = await make_proxy({}, modules=[plugin_with(proxy_operations=operations)])

    assert skipped(proxy).reason.startswith("the path /v1/twice ")
    assert skipped(proxy).reason.endswith(" is provided twice")


IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 100_000


@pytest.mark.parametrize(
    ("dialect", "content", "least", "most"),
    [
        ("early", "word " * 4_000, 4_500, 5_500),
        ("early", [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": IMAGE}}], 1_000, 1_100),
        ("early", [{"type": "text", "text": "x"}] * 50_000, 1, 200_000),
        ("late", "word " * 4_000, 0, 0),
    ],
)
async def test_a_translated_stream_may_begin_with_an_estimate_of_its_prompt(
    make_proxy, upstream, dialect, content, least, most
):
    seen = []

    def encoder(context):
        seen.append(context.prompt_tokens)
        return openai_chat.OpenAIChatEncoder(context)

    dialects = [
        replace(PARROT, name=name, paths=(f"/v1/{name}",), operations=(), encoder=encoder, prompt_first=name == "early")
        for name in ("early", "late")
    ]
    tables = {"providers": {"demo": {"base_url": upstream.url, "api_keys": ["key-a"]}}}
    proxy = await make_proxy(tables, modules=[plugin_with(proxy_dialects=dialects)])

    chat = {"model": "demo/small", "messages": [{"role": "user", "content": content}], "stream": True}
    answer = await proxy.post(f"/{dialect}", chat)

    assert answer.text == "hello"
    assert len(seen) == 1
    assert least <= seen[0] <= most
