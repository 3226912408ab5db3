"""A person at a login, for tests."""

from __future__ import annotations

import asyncio
from collections import deque

from proxy_core.interfaces import LoginMethod


class ScriptedPrompt:
    """A ``LoginPrompt`` without a person: ``pastes`` are typed in, one per question, the last is waited for.

    With ``browser`` each link shown is opened by one that follows redirects.
    """

    def __init__(
        self, *pastes: str, browser: bool = False, headless: bool = True, method: LoginMethod | None = None
    ) -> None:
        self.pastes = deque(pastes)
        self.browser = browser
        self.headless = headless
        self.method = method
        self.said: list[str] = []
        self.links: list[str] = []
        self.codes: list[str | None] = []
        self.pages: list[tuple[int, str]] = []
        self._shown = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()

    def say(self, text: str) -> None:
        self.said.append(text)

    async def ask(self, question: str, *, secret: bool = False) -> str:
        self.said.append(question)
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
        """The first link, once it was shown."""
        await self._shown.wait()
        return self.links[0]

    async def open(self, url: str, **headers: str) -> None:
        """What a browser does with a link."""
        import httpx

        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
            reply = await client.get(url, headers=headers)
            self.pages.append((reply.status_code, reply.text))
