"""Live feeds: the parts of open pages that changed, as server-sent events.

However many pages are open, the status is read and each part rendered once per tick. No task ticks in the background:
the feed whose turn it is reads, the others wait for it; without feeds nothing happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core import CallProxy
from proxy_plugin_dashboard.ended import has_ended
from proxy_plugin_dashboard.page import Asked, Page
from proxy_plugin_dashboard.render import rendered_blocks

#: A change is shown after this at the latest; a tick may use this share of the time, between these limits.
_FASTEST_S, _SLOWEST_S = 0.4, 0.9
_SHARE = 0.01
#: So that nothing between here and the browser takes the connection for dead.
_QUIET_S = 15.0


class _Group(Struct, kw_only=True):
    """Feeds that show the same: one page with one query. ``changed`` has the tick of each part's last change.

    ``failure`` ends its feeds, and no others.
    """

    page: Page
    feeds: dict[Feed, Asked] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    failure: Exception | None = None


class Live:
    """The open feeds of one process, under one generation of settings."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}
        self._turn = asyncio.Lock()
        self.tick = 0
        self._due = 0.0
        self._poked = asyncio.Event()

    def feed(self, page: Page, asked: Asked) -> Feed:
        key = (page.name, repr(sorted(asked.query.items())))
        group = self._groups.setdefault(key, _Group(page=page))
        feed = Feed(self, group, asked)
        group.feeds[feed] = asked
        return feed

    def poke(self) -> None:
        """Something has just been changed by a page: do not wait for the next tick."""
        self._poked.set()

    async def next(self, seen: int, call: CallProxy) -> int:
        """Wait for a tick after ``seen``; returns its number. If it is this feed's turn, it reads for all.

        Then with its own ``call``: another feed may end meanwhile, and all that it has called with it.
        """
        async with self._turn:
            if self.tick == seen:
                await self._pause()
                await self._read(call)
                self.tick += 1
        return self.tick

    def left(self, feed: Feed, group: _Group) -> None:
        group.feeds.pop(feed, None)
        self._groups = {key: group for key, group in self._groups.items() if group.feeds}

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._due - time.monotonic())):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()

    async def _read(self, call: CallProxy) -> None:
        groups = list(self._groups.values())
        began = time.thread_time()
        every = any(group.page.credentials for group in groups)
        statuses = await _any(groups[0]).request.statuses(credentials=every)
        cost_s = time.thread_time() - began
        for group in groups:
            if group.feeds:  # they may have gone meanwhile
                asked = _any(group)
                request = replace(asked.request, call=call)
                cost_s += await self._update(group, replace(asked, request=request, statuses=statuses))
        self._due = time.monotonic() + min(max(cost_s / _SHARE, _FASTEST_S), _SLOWEST_S)

    async def _update(self, group: _Group, asked: Asked) -> float:
        try:
            parts, cost_s = await asyncio.to_thread(_timed, group.page, await group.page.show(asked))
        except Exception as error:  # each feed raises it, so that the core logs it
            group.failure = error
            return 0.0
        for name, text in parts.items():
            if group.parts.get(name) != text:
                group.parts[name], group.changed[name] = text, self.tick + 1
        return cost_s


def _any(group: _Group) -> Asked:
    return next(iter(group.feeds.values()))


def _timed(page: Page, values: Mapping[str, object]) -> tuple[Mapping[str, str], float]:
    began = time.thread_time()
    parts = rendered_blocks(page.template, page.live, values)
    return parts, time.thread_time() - began


class Feed:
    """The body of one response."""

    def __init__(self, live: Live, group: _Group, asked: Asked) -> None:
        self._live, self._group = live, group
        self._session, self._call = asked.session, asked.request.call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        tick, sent, last = self._live.tick, -1, time.monotonic()
        yield b"retry: 1000\n\n"
        while True:
            tick = await self._live.next(tick, self._call)
            if has_ended(self._session) or time.time() >= self._session.expires:
                break
            if self._group.failure is not None:
                raise self._group.failure
            text = b"".join(self._events(sent))
            sent = tick
            if not text and time.monotonic() - last > _QUIET_S:
                text = b": still here\n\n"
            if text:
                last = time.monotonic()
                yield text
        yield _event("ended", "")

    async def aclose(self) -> None:
        self._live.left(self, self._group)

    def _events(self, sent: int) -> list[bytes]:
        group = self._group
        return [_event(name, group.parts[name]) for name, tick in group.changed.items() if tick > sent]


def _event(name: str, text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "".join([f"event: {name}\n", *(f"data: {line}\n" for line in lines), "\n"]).encode()
