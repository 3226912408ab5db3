"""The OpenAPI document: what is served is in it, with what each address asks for."""

import pytest

from proxy_core import Operation, OperationResponse
from proxy_core.testing import plugin_with

pytestmark = pytest.mark.anyio


async def document(proxy):
    url = proxy.url.removesuffix("/v1") + "/openapi.json"
    return (await proxy.client.get(url, headers={"authorization": f"Bearer {proxy.key}"})).json()


async def test_every_address_is_in_the_document(make_proxy, upstream):
    async def answer(request, services):
        """Say what ``x`` is.

        And more.
        """
        return OperationResponse(body={})

    operations = [Operation(paths=["/v1/x/{id:path}"], answer=answer, methods=["POST"])]
    proxy = await make_proxy({}, modules=[plugin_with(proxy_operations=operations)])

    found = await document(proxy)
    paths = found["paths"]

    assert found["openapi"] == "3.1.0"
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/models/{model}", "/v1/quota-stats"):
        assert path in paths, path
    assert {"/admin/status", "/healthz", "/v1/providers", "/openapi.json"} <= paths.keys()
    chat, mine = paths["/v1/chat/completions"]["post"], paths["/v1/x/{id}"]["post"]
    assert chat["tags"] == ["openai_chat"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert (mine["summary"], mine["tags"]) == ("Say what `x` is", ["plugins"])
    assert [parameter["name"] for parameter in mine["parameters"]] == ["id"]
    assert paths["/v1/quota-stats"].keys() >= {"get", "post"}
    security = {path: paths[path]["get"]["security"] for path in ("/healthz", "/admin/status", "/v1/models")}
    assert security == {"/healthz": [], "/admin/status": [{"admin": []}], "/v1/models": [{"client": []}]}


async def test_every_operation_says_what_it_is(make_proxy, upstream):
    proxy = await make_proxy({})

    paths = (await document(proxy))["paths"]

    unsaid = [path for path, methods in paths.items() for one in methods.values() if not one["summary"]]
    assert not unsaid, unsaid


#: One value for each field that some dialect requires.
VALUES = {
    "model": "demo/small",
    "messages": [{"role": "user", "content": "hi"}],
    "input": "hi",
    "max_tokens": 9,
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
}


async def test_what_it_calls_required_is_refused_if_it_is_missing_and_suffices_if_not(proxy):
    """A model in the path need not be in the body."""
    paths = (await document(proxy))["paths"]
    described = {path: one["post"] for path, one in paths.items() if "externalDocs" in one.get("post", {})}
    seen = set()
    for path, operation in described.items():
        required = operation["requestBody"]["content"]["application/json"]["schema"]["required"]
        seen |= {*required}
        url = proxy.url.removesuffix("/v1") + path.replace("{model}", "demo/small")
        whole = {name: VALUES[name] for name in required}
        bodies = {name: {k: v for k, v in whole.items() if k != name} for name in required}
        for name, body in bodies.items():
            answer = await proxy.client.post(url, json=body, headers={"authorization": f"Bearer {proxy.key}"})
            assert answer.status_code == 400, (path, name, answer.text)
            assert name in answer.text
        answer = await proxy.client.post(url, json=whole, headers={"authorization": f"Bearer {proxy.key}"})
        assert answer.status_code == 200 or "embeddings" in path, (path, answer.text)

    assert seen == VALUES.keys()


async def test_only_clients_get_it(make_proxy, upstream):
    proxy = await make_proxy({})

    assert (await proxy.client.get(proxy.url.removesuffix("/v1") + "/openapi.json")).status_code == 401
