"""``/v1/models`` answers each client in its own format, judging by the headers that its program sends."""

import pytest
from msgspec.structs import replace

from proxy_core import Lifecycle, ModelSpec
from proxy_core.testing import plugin_with

KEY = "test-client-key"
BEARER = {"authorization": f"Bearer {KEY}"}
ANTHROPIC, GOOGLE = {"anthropic-version": "2023-06-01"}, {"x-goog-api-client": "google-genai-sdk/3.4"}
CLIENTS = {
    "an OpenAI client": (BEARER, "", "openai"),
    "a key in x-api-key alone": ({"x-api-key": KEY}, "", "openai"),
    "Anthropic's, with a key": ({"x-api-key": KEY, **ANTHROPIC}, "", "anthropic"),
    "Anthropic's, with a token": ({**BEARER, **ANTHROPIC}, "", "anthropic"),
    "Anthropic's betas": ({**BEARER, "anthropic-beta": "x"}, "", "anthropic"),
    "Google's": ({"x-goog-api-key": KEY}, "", "google"),
    "Google's, with a token": ({**BEARER, **GOOGLE}, "", "google"),
    "a key in the URL": ({}, f"?key={KEY}", "google"),
    "a gateway that adds both": ({**BEARER, **GOOGLE, **ANTHROPIC}, "", "anthropic"),
}
IDS = {
    "openai": lambda listed: [model["id"] for model in listed["data"] if model["object"] == "model"],
    "anthropic": lambda listed: [model["id"] for model in listed["data"] if model["type"] == "model"],
    "google": lambda listed: [model["name"].removeprefix("models/") for model in listed["models"]],
}
ERROR_TYPES = {"openai": "invalid_request_error", "anthropic": "not_found_error", "google": None}


@pytest.mark.parametrize(("headers", "query", "shape"), CLIENTS.values(), ids=CLIENTS)
async def test_each_client_gets_its_own_format(make_proxy, headers, query, shape):
    up = {"base_url": "http://127.0.0.1:9/v1", "api_keys": ["key-a"], "models": ["m"], "discover": False}
    proxy = await make_proxy({"providers": {"up": up}})

    listed, found, missing, nowhere = [
        await proxy.client.get(f"{proxy.url}{path}{query}", headers=headers)
        for path in ("/models", "/models/up/m", "/models/none", "/nowhere")
    ]

    assert IDS[shape](listed.json()) == ["up/m"]
    assert IDS[shape]({"data": [found.json()], "models": [found.json()]}) == ["up/m"]
    for refused in (missing, nowhere):
        assert refused.status_code == 404
        assert refused.json()["error"].get("type") == ERROR_TYPES[shape]


async def test_what_a_provider_served_that_has_ended_is_in_no_list(make_proxy, upstream, parrot):
    gone = replace(parrot(), models=[ModelSpec(id="grey")], lifecycle=Lifecycle(status="ended", note="Use demo."))
    models = {"fast": ["parrot/grey", "demo/small"], "old": ["parrot/grey"], "old-*": ["parrot/*"]}
    providers = {"demo": {"base_url": upstream.url, "api_keys": ["key-a"], "models": {"small": {}}}}
    providers["parrot"] = {"api_keys": ["key-b"]}
    tables = {"models": models, "providers": providers}
    proxy = await make_proxy(tables, modules=[plugin_with(proxy_providers=[gone])])

    listed = [model["id"] for model in (await proxy.get("/models")).json["data"]]

    assert listed == ["fast", "demo/small"]
    found = [(await proxy.get(f"/models/{model}")).status for model in ("fast", "old", "old-grey", "parrot/grey")]
    assert found == [200, 404, 404, 404]
