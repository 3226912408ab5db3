"""A scripted user at a login, for tests."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy_core.interfaces import LoginMethod


class ScriptedPrompt:
    """A ``LoginPrompt`` without a user: ``pastes`` are its inputs, one per question; after the last one it waits.

    With ``browser``, each link is opened by a client that follows redirects.
    """

    def __init__(
        self, *pastes: str, browser: bool = False, headless: bool = True, method: LoginMethod | None = None
    ) -> None:
        self.pastes = deque(pastes)
        self.browser = browser
        self.headless = headless
        self.method = method
        self.lines: list[str] = []
        self.links: list[str] = []
        self.codes: list[str | None] = []
        self.pages: list[tuple[int, str]] = []
        self._shown = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()

    def say(self, text: str) -> None:
        self.lines.append(text)

    async def ask(self, question: str, *, secret: bool = False) -> str:
        self.lines.append(question)
        while not self.pastes:
            await asyncio.sleep(0.005)
        return self.pastes.popleft()

    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        self.links.append(url)
        self.codes.append(code)
        self._shown.set()
        if self.browser:
            task = asyncio.create_task(self.open(url))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def shown(self) -> str:
        """Wait until a link is shown; returns the first one."""
        await self._shown.wait()
        return self.links[0]

    async def open(self, url: str, **headers: str) -> None:
        """Open a link like a browser."""
        import httpx

        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
            response = await client.get(url, headers=headers)
            self.pages.append((response.status_code, response.text))
