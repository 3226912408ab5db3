"""The screen: a pane for each proxy, drawn anew whenever it was read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Footer, Static

from proxy_plugin_top.frame import Line, Reading, accounts, fitted, heading, requests
from proxy_plugin_top.sources import Source, Unreadable

_STYLES = {"": "", "bold": "bold", "dim": "dim", "good": "green", "warn": "yellow", "bad": "bold red"}
#: Textual turns colours into greys, some of which nobody can read.
_COLOURLESS = {**_STYLES, "good": "", "warn": "bold", "bad": "bold reverse"}
#: Panes that would be narrower than this are put below one another.
_NARROW = 60
_REQUESTS = 50
_MOST_WAIT_S = 10.0


class Pane(Vertical):
    """One proxy. If it cannot be read, the last picture stays, below the reason."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.reading: Reading | None = None
        self.problem = ""
        self._heading = Static(classes="heading")
        self._accounts = Static()
        self._requests = Static()

    def compose(self) -> ComposeResult:
        yield self._heading
        with VerticalScroll(classes="accounts"):
            yield self._accounts
        with VerticalScroll(classes="requests"):
            yield self._requests

    def on_resize(self, event: Resize) -> None:
        self.draw()

    def draw(self) -> None:
        width, reading = max(10, self.size.width - 2), self.reading
        if reading is None:
            self._heading.update(self._content([[(f"{self.source.name}: {self.problem or 'reading'}", "bold")]]))
            return
        old = f"{self.source.name}: {self.problem}; this is as of {reading.at.astimezone():%H:%M:%S}"
        problem: list[Line] = [[(old, "bad")]] if self.problem else []
        self._heading.update(self._content([*problem, *heading(self.source.name, reading)]))
        self._accounts.update(self._content(accounts(reading, width)))
        self._requests.update(self._content(fitted(requests(reading, _REQUESTS, width), width)))

    def _content(self, lines: Iterable[Line]) -> Content:
        """Texts are content, never markup."""
        styles = _COLOURLESS if self.app.no_color else _STYLES
        return Content("\n").join(
            Content.assemble(*((text, styles[style]) for text, style in line if text)) for line in lines
        )


class Top(App[None]):
    """``q`` ends it; the mouse, the arrows and Tab scroll."""

    TITLE = "proxy-core top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),  # before that of the screen, which copies
        Binding("p", "pause", "Pause"),
        Binding("r", "look", "Look now"),
    ]
    CSS = """
    #panes { layout: horizontal; }
    #panes.narrow { layout: vertical; }
    Pane { width: 1fr; height: 1fr; padding: 0 1; }
    .heading { height: auto; max-height: 50%; padding-bottom: 1; }
    .accounts { height: 3fr; }
    .requests { height: 2fr; border-top: solid $foreground 30%; }
    .accounts, .requests { scrollbar-size-vertical: 1; }
    """

    def __init__(self, sources: Sequence[Source], *, every_s: float) -> None:
        super().__init__()
        self._panes = [Pane(source) for source in sources]
        self._every_s = every_s
        self._paused = False
        self._look = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Container(*self._panes, id="panes")
        yield Footer()

    def on_mount(self) -> None:
        for pane in self._panes:
            self.run_worker(self._follow(pane), exit_on_error=True)

    def on_resize(self, event: Resize) -> None:
        narrow = event.size.width < _NARROW * len(self._panes)
        self.query_one("#panes").set_class(narrow, "narrow")

    def action_pause(self) -> None:
        self._paused = not self._paused
        self.sub_title = "paused" if self._paused else ""
        self.notify("Paused: press p to go on." if self._paused else "Going on.", timeout=2)

    def action_look(self) -> None:
        self._look.set()

    async def _follow(self, pane: Pane) -> None:
        failures = 0
        try:
            while True:
                if not self._paused or pane.reading is None:
                    failures = await self._read(pane, failures)
                await self._wait(min(self._every_s * 2**failures, max(_MOST_WAIT_S, self._every_s)))
        finally:
            await pane.source.aclose()

    async def _read(self, pane: Pane, failures: int) -> int:
        """The number of failures in a row, counting up to what the wait needs."""
        try:
            pane.reading, pane.problem = await pane.source.read(), ""
            failures = 0
        except Unreadable as error:
            failures = min(failures + 1, 8) if not error.hopeless else 8
            again_s = min(self._every_s * 2**failures, max(_MOST_WAIT_S, self._every_s))
            pane.problem = f"{error}; trying again in {again_s:.0f} s"
        pane.draw()
        return failures

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            pass
        self._look.clear()
