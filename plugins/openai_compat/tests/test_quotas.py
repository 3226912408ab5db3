"""Quotas that vendors tell when they are asked for them: the whole proxy, and a vendor that is a script."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from proxy_core import Credential, HttpResponse, ProviderSettings, QuotaWindow, UpstreamBroken
from proxy_plugin_openai_compat.provider import build_provider
from proxy_plugin_openai_compat.quirks import PRESETS
from proxy_plugin_openai_compat.quotas import quota_windows

NOW = datetime(2026, 11, 28, 10, 30, tzinfo=UTC)
MIDNIGHT, RESET = datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
RESET_MS = int(RESET.timestamp() * 1000)


def window(resets_at, used, limit, name=""):
    return QuotaWindow(limit=limit, used=used, resets_at=resets_at, group="all", window=name)


DAY, MONTH = {"used": 5, "remaining": 1995, "resetAt": RESET_MS}, {"used": 45, "remaining": 59955, "resetAt": RESET_MS}
ANSWERS = [
    ("chutes", {"quota": 300, "used": 12.5}, [window(MIDNIGHT, 12.5, 300)]),
    ("chutes", {"quota": 300}, []),
    (
        "nanogpt",
        {"active": True, "state": "active", "daily": DAY, "monthly": MONTH},
        [window(RESET, 5, 2000), window(RESET, 45, 60000, "monthly")],
    ),
    ("nanogpt", {"active": False, "daily": None, "monthly": {"used": "many"}}, []),
    ("nanogpt", {"daily": {**DAY, "resetAt": 10**30}}, []),
    ("firmware", {"used": 0.25, "reset": "2026-12-01T12:00:00.000Z"}, [window(RESET, 250, 1000)]),
    ("firmware", {"used": 0, "reset": None}, []),
]


@pytest.mark.parametrize(("preset", "answer", "windows"), ANSWERS)
def test_what_a_vendor_says_becomes_windows(preset, answer, windows):
    assert quota_windows(PRESETS[preset].quota, json.dumps(answer).encode(), NOW) == windows


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>"])
def test_an_answer_that_is_none_is_an_error(body):
    with pytest.raises(UpstreamBroken, match="no JSON object"):
        quota_windows(PRESETS["chutes"].quota, body, NOW)


URLS = {
    "chutes": "https://api.chutes.ai/users/me/quota_usage/me",
    "nanogpt": "https://nano-gpt.com/api/subscription/v1/usage",
    "firmware": "https://app.firmware.ai/api/v1/quota",
}
KEY = Credential(id="1", provider="p", kind="api_key", secret=SecretStr("the-key"), label="k")


@pytest.mark.parametrize(("preset", "url"), URLS.items())
@pytest.mark.parametrize("status", [404, 500])
def test_each_vendor_is_asked_at_its_page_with_the_key(preset, url, status):
    asked = []

    async def http(request, *, timeout_s=30.0):
        asked.append(request)
        return HttpResponse(status, {}, b"{}")

    provider = build_provider(preset, PRESETS[preset], ProviderSettings())
    if status == 404:
        assert asyncio.run(provider.quota(KEY, http)) == []
    else:
        with pytest.raises(UpstreamBroken, match="500"):
            asyncio.run(provider.quota(KEY, http))

    assert [(request.method, request.url) for request in asked] == [("GET", url)]
    assert ("authorization", "Bearer the-key") in asked[0].headers


def test_the_key_of_another_server_is_not_sent_to_the_vendors_page():
    settings = ProviderSettings(base_url="http://127.0.0.1:1/v1")

    assert build_provider("chutes", PRESETS["chutes"], settings).quota is None
    assert build_provider("groq", PRESETS["groq"], ProviderSettings()).quota is None


@pytest.mark.anyio
async def test_a_proxy_asks_shows_and_uses_the_quotas_of_keys(make_proxy, upstream):
    upstream.for_path("/api/subscription/v1/usage").responds(
        200, {"daily": {**DAY, "used": 1999, "remaining": 1}, "monthly": MONTH}
    )
    caps = [{"limit": "-1"}]
    settings = {"base_url": upstream.url, "api_keys": ["key-a"], "rotation": {"caps": caps}}
    proxy = await make_proxy({"providers": {"nanogpt": settings}})
    group = proxy.proxy.pools["nanogpt"].ledger.group("any")
    async with asyncio.timeout(20):
        while not group.windows:
            await asyncio.sleep(0.01)

    answer = await proxy.chat("nanogpt/any", "hi")

    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert proxy.proxy.pools["nanogpt"].ledger.group_named("all (monthly)").used == {next(iter(group.windows)): 45}


@pytest.mark.anyio
async def test_a_vendor_that_does_not_tell_harms_no_request(make_proxy, upstream):
    upstream.for_path("/api/subscription/v1/usage").responds(500)
    settings = {"base_url": upstream.url, "api_keys": ["key-a"]}
    proxy = await make_proxy({"providers": {"nanogpt": settings}})

    assert (await proxy.chat("nanogpt/any", "hi")).status == 200
