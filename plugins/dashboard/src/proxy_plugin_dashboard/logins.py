"""Logins from the page: each is a conversation between a provider's ``login`` and whoever has the page open.

``login`` runs in a thread of the process that was asked, with an event loop of its own, so it survives a reload of the
page and of the settings. What it says and asks stands in a private file, and what the user answers in another one:
every worker of this machine can show and answer it. Another machine cannot, and a process that ends takes its
conversations with it; the page says so. No answer is kept: its file is deleted as it is read.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import click
from msgspec import DecodeError, Struct, ValidationError, field, json

from proxy_core import LoginMethod, Provider, SettingsError
from proxy_core.cli.api import NotRunning, VaultProblem, private_folder, read_small, reload_running_proxy, write_private
from proxy_plugin_accounts import Accounts, log_in, save

_LONGEST_S = 15 * 60
#: A process that lives says so this often; without that for a while, it has ended.
_SIGN_S, _DEAD_S = 2.0, 15.0
_LOOK_S = 0.2
_KEPT_S = 3600.0
_ID = re.compile(r"[\w-]{20,40}\Z", re.ASCII)
_MOST_LINES = 60

Outcome = Literal["", "saved", "failed", "cancelled"]


class Line(Struct, frozen=True, kw_only=True):
    """Something that was said: a text, or a link with the code that has to be entered there."""

    text: str = ""
    url: str = ""
    code: str = ""


class Login(Struct, kw_only=True):
    """The state of a conversation. ``turn`` counts its changes and ``asked`` its questions, of
    which one is open while ``question`` is not empty."""

    id: str
    provider: str
    name: str | None
    method: LoginMethod | None
    headless: bool
    lines: list[Line] = field(default_factory=list)
    turn: int = 0
    asked: int = 0
    question: str = ""
    secret: bool = False
    outcome: Outcome = ""
    lost: bool = False


# --- From any process --------------------------------------------------------------------


def begin(folder: Path, accounts: Accounts, provider: Provider, login: Login) -> None:
    """Start the conversation; in a thread. Raises ``OSError``."""
    private_folder(folder)
    _tidy(folder)
    _write(folder, login)
    run = _Conversation(folder, accounts, provider, login).run
    threading.Thread(target=run, name=f"login {login.id}", daemon=True).start()


def new_id() -> str:
    return secrets.token_urlsafe(20)


def read(folder: Path, name: str) -> Login | None:
    """``None`` if it is not on this machine, or no longer."""
    if not _ID.match(name):
        return None
    path = folder / f"{name}.json"
    try:
        login = json.decode(read_small(path), type=Login)
        login.lost = not login.outcome and time.time() - path.stat().st_mtime > _DEAD_S
    except (OSError, DecodeError, ValidationError):
        return None
    return login


def open_logins(folder: Path) -> list[Login]:
    """Those that wait for someone."""
    names = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
    found = (read(folder, name) for name in names)
    return [login for login in found if login is not None and not login.outcome and not login.lost]


def answer(folder: Path, login: Login, asked: int, text: str) -> bool:
    """Whether that question is still open. Raises ``OSError``."""
    if login.asked != asked or not login.question:
        return False
    write_private(folder / f"{login.id}.{asked}.answer", text.encode())
    return True


def cancel(folder: Path, login: Login) -> None:
    write_private(folder / f"{login.id}.cancel", b"")


# --- In the process that was asked -------------------------------------------------------


class _Conversation:
    """A ``LoginPrompt`` whose user is at a page."""

    def __init__(self, folder: Path, accounts: Accounts, provider: Provider, login: Login) -> None:
        self._folder, self._accounts, self._provider, self._login = folder, accounts, provider, login

    @property
    def method(self) -> LoginMethod | None:
        return self._login.method

    @property
    def headless(self) -> bool:
        return self._login.headless

    def say(self, text: str) -> None:
        self._add(*(Line(text=line) for line in text.splitlines() if line.strip()))

    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        self._add(Line(url=url, code=code or ""))

    async def ask(self, question: str, *, secret: bool = False) -> str:
        self._login.question, self._login.secret = question, secret
        self._login.asked += 1
        path = self._folder / f"{self._login.id}.{self._login.asked}.answer"
        self._changed()
        try:
            while not path.exists():  # noqa: ASYNC110  # another process may write it
                await asyncio.sleep(_LOOK_S)
            text = read_small(path).decode()
            path.unlink(missing_ok=True)
            return text
        finally:
            self._login.question = ""
            self._changed()

    def run(self) -> None:
        """In a thread of its own. Raises nothing: what goes wrong becomes the last line."""
        try:
            asyncio.run(self._run())
        except Exception as error:  # anything else has been handled; a message may contain secrets
            self._end("failed", f"The login failed: {type(error).__name__}.")

    async def _run(self) -> None:
        refresher = self._accounts.refresher(self._provider)
        assert refresher is not None  # otherwise the page offers no login
        work = asyncio.ensure_future(log_in(self._accounts, self._provider, refresher, self, yes=True))
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._end("cancelled", watch.result())
                return
            tokens = work.result()
            assert tokens is not None  # nobody was asked for confirmation here
            save(self._accounts, self._provider, tokens, self._login.name, say=self.say)
            # Outside of this event loop, because it runs one of its own.
            self._end("saved", await asyncio.to_thread(self._applied))
        except click.ClickException as error:
            self._end("failed", error.message)
        except (SettingsError, VaultProblem) as error:
            self._end("failed", str(error))
        except OSError as error:
            self._end("failed", f"{error.filename or 'A file'}: {error.strerror or error}")
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _watch(self) -> str:
        """Show that this process lives, until the login is cancelled or takes too long; returns which."""
        ends, path = time.monotonic() + _LONGEST_S, self._folder / f"{self._login.id}.json"
        stop = self._folder / f"{self._login.id}.cancel"
        signed = time.monotonic()
        while time.monotonic() < ends:
            await asyncio.sleep(_LOOK_S)
            if stop.exists():
                return "The login was cancelled; nothing was saved."
            if time.monotonic() - signed > _SIGN_S:
                signed = time.monotonic()
                with suppress(OSError):
                    os.utime(path)
        return "Nobody finished the login within 15 minutes; nothing was saved."

    def _applied(self) -> str:
        """Have the proxy, which is this very program, read the accounts again."""
        try:
            problems = reload_running_proxy(self._accounts.loaded)
        except NotRunning:
            return "Restart the proxy to use it."
        return (
            f"The running proxy did not apply it: {'; '.join(problems)}" if problems else "The running proxy uses it."
        )

    def _add(self, *lines: Line) -> None:
        self._login.lines = [*self._login.lines, *lines][-_MOST_LINES:]
        self._changed()

    def _end(self, outcome: Outcome, words: str) -> None:
        self._login.outcome, self._login.question = outcome, ""
        self._add(Line(text=words))
        for path in self._folder.glob(f"{self._login.id}.*"):
            if path.suffix != ".json":
                path.unlink(missing_ok=True)

    def _changed(self) -> None:
        self._login.turn += 1
        _write(self._folder, self._login)


def _write(folder: Path, login: Login) -> None:
    with suppress(OSError):  # a full disk must not end a login that the user has nearly finished
        write_private(folder / f"{login.id}.json", json.encode(login))


def _tidy(folder: Path) -> None:
    for path in _older(folder, _KEPT_S):
        path.unlink(missing_ok=True)


def _older(folder: Path, age_s: float) -> Iterator[Path]:
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > age_s:
                yield path
