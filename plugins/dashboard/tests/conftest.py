"""A proxy with the dashboard, and a browser without a screen."""

import re
from contextlib import asynccontextmanager

import httpx
import pytest

ADMIN = "the-admin-key"


class Browser:
    """Keeps cookies and sends what a browser would: htmx's headers with an action, ``Origin`` with a POST."""

    def __init__(self, client, root):
        self.client, self.root = client, root
        self.csrf = ""

    async def get(self, path, **headers):
        return await self.client.get(self.root + path, headers=headers, follow_redirects=False)

    async def page(self, name):
        response = await self.get(f"/admin/ui/{name}")
        assert response.status_code == 200, (name, response.status_code, response.text[:400])
        self.csrf = re.search(r'x-csrf-token": "(\w+)"', response.text)[1]
        return response.text

    async def post(self, path, form=None, **headers):
        headers = {"x-csrf-token": self.csrf, "origin": self.root, "hx-request": "true", **headers}
        return await self.client.post(self.root + path, data=form or {}, headers=headers)

    async def sign_in(self, key=ADMIN, **headers):
        headers = {"authorization": f"Bearer {key}", "origin": self.root, **headers}
        return await self.client.post(self.root + "/admin/ui/session", headers=headers)

    @asynccontextmanager
    async def feed(self, page, query=""):
        """``await next()``: the next event as ``(name, text)``."""
        url = f"{self.root}/admin/ui/live/{page}?{query}"
        async with self.client.stream("GET", url, timeout=20) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()

            async def following():
                name, data = "", []
                async for line in lines:
                    if line.startswith("event: "):
                        name = line[7:]
                    elif line.startswith("data: "):
                        data.append(line[6:])
                    elif not line and name:
                        return name, "\n".join(data)
                return None

            yield following


@pytest.fixture
async def browsing(make_proxy, upstream):
    """Makes a proxy and a browser that has signed in: ``proxy, browser = await browsing()``."""
    clients = []

    async def make(modules=(), signed_in=True, **tables):
        provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
        settings = {"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 1}}
        proxy = await make_proxy({**settings, "admin": {"key": ADMIN}, **tables}, modules=modules)
        clients.append(client := httpx.AsyncClient(trust_env=False, timeout=20))
        browser = Browser(client, proxy.url.removesuffix("/v1"))
        if signed_in:
            assert (await browser.sign_in()).status_code == 204
        return proxy, browser

    yield make
    for client in clients:
        await client.aclose()
