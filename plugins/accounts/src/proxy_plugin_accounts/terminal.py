"""A ``LoginPrompt`` that only prints and reads lines, so it works on a plain terminal and on pipes."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import click

from proxy_core import LoginMethod, LoginPrompt
from proxy_core.cli.api import LoadedSettings
from proxy_plugin_accounts.qr import qr_text

_STDIN = 0


class TerminalPrompt:
    """Prints to the standard output and reads lines from the standard input."""

    def __init__(self, *, headless: bool, method: LoginMethod | None = None) -> None:
        self.headless = headless or method in ("paste", "device")
        self.method = method
        self._lines = _Lines()

    def say(self, text: str) -> None:
        click.echo("\n".join("".join(c for c in line if c.isprintable()) for line in text.splitlines()))

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """Read one line. Raises ``EOFError`` at the end of the standard input. Cancelling it takes effect at once."""
        try:
            with hidden() if secret else nullcontext():
                click.echo(f"{question}: ", nl=False)  # what is typed from now on must not show
                line = await self._lines.next()
        except asyncio.CancelledError:
            click.echo()  # the next output must not continue the line of this question
            raise
        if secret or not sys.stdin.isatty():
            click.echo()
        return line

    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        """Print the URL on a line of its own, so that it is easy to copy."""
        opened = not self.headless and _open(url)
        click.echo("Your browser should open now. If it does not, open this URL:" if opened else "Open this URL:")
        click.echo(f"\n  {url}\n")
        if code is not None:
            click.echo(f"Enter this code:  {code}\n")
        picture = qr_text(url) if qr and sys.stdout.isatty() else None
        if picture:
            click.echo(picture)


def is_headless(loaded: LoadedSettings) -> bool:
    """Whether the user cannot see a browser on this machine: an SSH session, or Unix without a display."""
    variables = loaded.sources.variables
    if any(name in variables for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return True
    has_display = any(name in variables for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return not has_display and sys.platform not in ("win32", "darwin", "cygwin")


def _open(url: str) -> bool:
    import webbrowser

    with suppress(webbrowser.Error, OSError):
        return webbrowser.open(url)
    return False


class _Lines:
    """Lines of the standard input, read by a daemon thread, so that the program can exit while it blocks.

    It reads the file descriptor directly: a buffered reader would hold a lock at interpreter shutdown.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._ready: deque[str] = deque()
        self._ended = False
        self._started = False

    async def next(self) -> str:
        if self._ready:
            return self._ready.popleft()
        if self._ended:
            raise EOFError
        loop = asyncio.get_running_loop()
        if not self._started:
            self._started = True
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        future: asyncio.Future[str] = loop.create_future()
        self._waiting.append(future)
        return await future

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""
        with suppress(RuntimeError):  # the loop is closed; no one needs further lines
            while data := _some():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._come, line.decode("utf-8", "replace").rstrip("\r"))
            if rest:
                loop.call_soon_threadsafe(self._come, rest.decode("utf-8", "replace"))
            loop.call_soon_threadsafe(self._end)

    def _come(self, line: str) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(line)
                return
        self._ready.append(line)

    def _end(self) -> None:
        self._ended = True
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(EOFError())


def _some() -> bytes:
    try:
        return os.read(_STDIN, 65536)
    except OSError:
        return b""


@contextmanager
def hidden() -> Iterator[None]:
    """Turn off the terminal's echo, and restore it in any case."""
    try:
        import termios

        before = termios.tcgetattr(_STDIN)
    except (ImportError, OSError):
        yield
        return
    except Exception as error:
        if type(error).__name__ != "error":  # termios.error is not an OSError
            raise
        yield
        return
    quiet = [*before]
    quiet[3] = int(quiet[3]) & ~termios.ECHO
    termios.tcsetattr(_STDIN, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)


async def confirmed(prompt: LoginPrompt, question: str) -> bool:
    """Ask for confirmation. Raises ``ClickException`` if the standard input has ended."""
    try:
        answer = await prompt.ask(f"{question} [y/N]")
    except EOFError:
        click.echo()
        raise click.ClickException("cannot ask for confirmation: the standard input has ended; use --yes") from None
    return answer.strip().lower() in ("y", "yes")
