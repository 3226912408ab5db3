"""A proxy with the dashboard, and a browser without a screen."""

import httpx
import pytest

from proxy_plugin_dashboard.testing import ADMIN_KEY, Browser


@pytest.fixture
async def browsing(make_proxy, upstream):
    """Makes a proxy and a browser that has signed in: ``proxy, browser = await browsing()``."""
    clients = []

    async def make(modules=(), signed_in=True, **tables):
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
        settings = {"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 60}}
        proxy = await make_proxy({**settings, "admin": {"key": ADMIN_KEY}, **tables}, modules=modules)
        clients.append(client := httpx.AsyncClient(trust_env=False, timeout=20))
        browser = Browser(client, proxy.url.removesuffix("/v1"))
        if signed_in:
            assert (await browser.sign_in()).status_code == 204
        return proxy, browser

    yield make
    for client in clients:
        await client.aclose()
