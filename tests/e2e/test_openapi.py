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


async def test_only_clients_get_it(make_proxy, upstream):
    proxy = await make_proxy({})

    assert (await proxy.client.get(proxy.url.removesuffix("/v1") + "/openapi.json")).status_code == 401
