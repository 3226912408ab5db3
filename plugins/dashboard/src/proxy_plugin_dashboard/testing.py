"""A browser without a screen, for tests of the dashboard and of what is added to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import httpx

ADMIN_KEY = "the-admin-key"
Event = tuple[str, str]


class Browser:
    """Keeps cookies and sends what a browser would: htmx's headers with an action, ``Origin`` with a POST."""

    def __init__(self, client: httpx.AsyncClient, root: str) -> None:
        self.client, self.root = client, root
        self.csrf = ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(self.root + path, headers=headers, follow_redirects=False)

    async def page(self, name: str) -> str:
        """The text of a page below ``/admin/ui``; its CSRF token is kept."""
        response = await self.get(f"/admin/ui/{name}")
        assert response.status_code == 200, (name, response.status_code, response.text[:400])
        token = re.search(r'x-csrf-token": "(\w+)"', response.text)
        assert token is not None, response.text
        self.csrf = token[1]
        return response.text

    async def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        headers = {"x-csrf-token": self.csrf, "origin": self.root, "hx-request": "true", **headers}
        return await self.client.post(self.root + path, data=dict(form or {}), headers=headers)

    async def sign_in(self, key: str = ADMIN_KEY, **headers: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "origin": self.root, **headers}
        return await self.client.post(self.root + "/admin/ui/session", headers=headers)

    @asynccontextmanager
    async def feed(self, page: str, query: str = "") -> AsyncIterator[Callable[[], Awaitable[Event | None]]]:
        """``await next()`` is the next event, a name and a text; ``None`` at the end."""
        url = f"{self.root}/admin/ui/live/{page}?{query}"
        async with self.client.stream("GET", url, timeout=20) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()

            async def following() -> Event | None:
                name, data = "", list[str]()
                async for line in lines:
                    if line.startswith("event: "):
                        name = line[7:]
                    elif line.startswith("data: "):
                        data.append(line[6:])
                    elif not line and name:
                        return name, "\n".join(data)
                return None

            yield following
