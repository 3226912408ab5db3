"""Accounts: which credential can be used, which cannot, until when and why; and everything that one can do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from proxy_core import PageResponse
from proxy_plugin_dashboard import adding, logins, operations
from proxy_plugin_dashboard.operations import Outcome
from proxy_plugin_dashboard.page import HTML, Asked, Page, notice
from proxy_plugin_dashboard.views.accounts_model import FILTERS, Known, Today, accounts_model

#: What the vault says is read again when a page is opened after this; a change reloads everything anyway.
_FRESH_S = 10.0
_TODAY_S = 3.0


async def show(asked: Asked) -> Mapping[str, object]:
    there = await _known(asked)
    # In a thread, because there may be a thousand credentials.
    model = await asyncio.to_thread(accounts_model, asked.statuses, there, asked.query)
    waiting = logins.open_logins(asked.logins)
    return {"accounts": model, "known": there, "filters": FILTERS, "waiting": waiting, "today": await _today(asked)}


async def _today(asked: Asked) -> Today | None:
    """Not asked for with each tick: it is read from the store."""
    read_at, today = asked.kept.get("today", (-_TODAY_S, None))
    if time.monotonic() - read_at >= _TODAY_S:
        today = await operations.used_today(asked)
        asked.kept["today"] = time.monotonic(), today
    assert today is None or isinstance(today, Today)
    return today


async def _known(asked: Asked) -> Known:
    is_tick = "/live/" in asked.request.path
    read_at, there = asked.kept.get("known", (0.0, None))
    if there is None or not (is_tick or time.monotonic() - read_at < _FRESH_S):
        there = await asyncio.to_thread(operations.known, asked)
        asked.kept["known"] = time.monotonic(), there
    assert isinstance(there, Known)
    return there


# --- Actions -----------------------------------------------------------------------------


async def clear(asked: Asked) -> PageResponse:
    return await _told(operations.clear(asked, asked.given("provider"), asked.form.get("credential", "")))


async def disable(asked: Asked) -> PageResponse:
    return await _told(operations.disable(asked, asked.given("provider"), asked.given("credential"), True))


async def enable(asked: Asked) -> PageResponse:
    return await _told(operations.disable(asked, asked.given("provider"), asked.given("credential"), False))


async def test(asked: Asked) -> PageResponse:
    return await _told(operations.test(asked, asked.given("provider"), asked.given("credential")))


async def renew(asked: Asked) -> PageResponse:
    return await _told(operations.renew_now(asked, asked.given("provider"), asked.given("credential")))


async def add_key(asked: Asked) -> PageResponse:
    name = asked.form.get("name", "").strip() or None
    return await _told(operations.add_keys(asked, asked.given("provider"), asked.form.get("key", ""), name))


async def _told(work: Awaitable[Outcome]) -> PageResponse:
    outcome = await work
    return await notice(outcome.good, outcome.words, *outcome.more)


# --- Adding an account -------------------------------------------------------------------


async def add(asked: Asked) -> PageResponse:
    """``accounts/add/<provider>``: a form for a key, and what is to know before a login."""
    choice = await asyncio.to_thread(adding.choice, asked, asked.rest)
    return await asked.whole("add_account.html", choice=choice)


async def log_in(asked: Asked) -> PageResponse:
    """Begin a login, and lead the browser to its conversation."""
    login, problem = await asyncio.to_thread(adding.began, asked)
    if login is None:
        return await notice(False, problem)
    return _to(f"/admin/ui/accounts/login/{login.id}")


async def conversation(asked: Asked) -> PageResponse:
    """``accounts/login/<id>``: the page of a login; for its own script only what has changed since ``turn``."""
    login = await asyncio.to_thread(logins.read, asked.logins, asked.rest)
    if asked.is_fragment and login is not None and asked.query.get("turn") == f"{login.turn}-{int(login.lost)}":
        return PageResponse(status=204, content_type=HTML)
    template = "login_state.html" if asked.is_fragment else "login_page.html"
    return await asked.whole(template, login=login)


async def answer(asked: Asked) -> PageResponse:
    def work() -> bool:
        login, number = logins.read(asked.logins, asked.form.get("id", "")), asked.form.get("asked", "")
        text = asked.form.get("answer", "").strip()
        return login is not None and number.isdigit() and logins.answer(asked.logins, login, int(number), text)

    return await _passed_on(work, "The answer was passed on.", "The login no longer waits for this answer.")


async def cancel(asked: Asked) -> PageResponse:
    def work() -> bool:
        login = logins.read(asked.logins, asked.form.get("id", ""))
        if login is not None:
            logins.cancel(asked.logins, login)
        return login is not None

    return await _passed_on(work, "The login is being cancelled.", "There is no such login on this machine.")


async def _passed_on(work: Callable[[], bool], done: str, gone: str) -> PageResponse:
    """What is to reach a login is written into a file."""
    try:
        good = await asyncio.to_thread(work)
    except OSError as error:
        return await notice(False, operations.file_words(error))
    return await notice(good, done if good else gone)


def _to(address: str) -> PageResponse:
    return PageResponse(status=204, content_type=HTML, headers={"hx-redirect": quote(address)})


_POST: Mapping[str, Callable[[Asked], Awaitable[PageResponse]]] = {
    "clear": clear,
    "disable": disable,
    "enable": enable,
    "test": test,
    "renew": renew,
    "add-key": add_key,
    "log-in": log_in,
    "answer": answer,
    "cancel": cancel,
}

PAGE = Page(
    name="accounts",
    title="Accounts",
    show=show,
    live=("summary", "list"),
    get={"add": add, "login": conversation},
    post=_POST,
    credentials=True,
)
