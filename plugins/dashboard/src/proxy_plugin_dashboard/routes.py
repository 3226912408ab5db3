"""From a request to a response: which page, whether its sender may see it, and what every response has.

To add a page: write ``views/<name>.py`` with a ``PAGE``, and ``templates/<name>.html`` that extends ``layout.html``
and fills its block ``main``; then add a line to ``_VIEWS`` below. ``Page`` (in ``page.py``) says what a page can have:

- ``show``: an async function from :class:`Asked` to the values of the template. Split it into a pure function from
  status values to a view model, and what reads them.
- Live parts: wrap them in ``<div {{ ui.live("x") }}>{% block x %}...{% endblock %}</div>`` and name the blocks in
  ``live=("x",)``. ``show`` is then called again for each tick, for all open pages at once.
- Actions: ``post={"clear": clear}`` and in the template ``<form hx-post="/admin/ui/<name>/clear">``. ``layout.html``
  adds the CSRF header to every request of htmx and shows the answer, which is ``notice(good, "what happened")``.
- Fragments, files and pages below it: ``get={"detail": detail}``, at ``/admin/ui/<name>/detail/<rest>``.

Every text in a template is escaped; cut those that clients or upstreams wrote with ``|cut``. There is no inline code
and no inline style: the browser would refuse it. Macros are in ``ui.html``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from msgspec.structs import replace

from proxy_core import PageRequest, PageResponse, ProxyError
from proxy_plugin_dashboard import ended, security
from proxy_plugin_dashboard.live import Live
from proxy_plugin_dashboard.page import HTML, Asked, Page, fragment
from proxy_plugin_dashboard.render import rendered
from proxy_plugin_dashboard.session import (
    Session,
    begun,
    cookie_name,
    csrf_token,
    delete_cookie,
    is_csrf_token,
    renewed,
    session_of,
    set_cookie,
)
from proxy_plugin_dashboard.static_files import static_files

#: The pages, in the order in which they are shown.
_VIEWS = (
    "accounts",
    "requests",
    "usage",
    "models",
    "plugins",
    "settings",
    "health",
)
ROOT = "/admin/ui"
_FORM = "application/x-www-form-urlencoded"
#: A browser sends a form by itself if the page's scripts did not run.
_NO_SCRIPTS = "This needs scripts, which did not run or could not be loaded. Nothing was changed. Go back and reload."

log = logging.getLogger("proxy_core.dashboard")


class Dashboard:
    """All pages, under one generation of settings. ``hosts``: the names under which it may be opened."""

    def __init__(self, *, hosts: Sequence[str], logins: Path) -> None:
        self._hosts = hosts
        self._logins = logins
        modules = [import_module(f"proxy_plugin_dashboard.views.{name}") for name in _VIEWS]
        self._pages: Mapping[str, Page] = {module.PAGE.name: module.PAGE for module in modules}
        self._kept: Mapping[str, dict[str, object]] = {name: {} for name in self._pages}
        self._live = Live()

    async def respond(self, request: PageRequest) -> PageResponse:
        """Raises nothing but what is the core's to answer, such as a body that is too large."""
        response = await self._checked(request)
        return replace(response, headers={**security.HEADERS, **response.headers})

    async def _checked(self, request: PageRequest) -> PageResponse:
        host = request.headers.get("host", "")
        if not security.is_own_host(host, self._hosts):
            return await _problem(421, "unknown_host.html", host=security.host_name(host))
        first, _, rest = request.path.removeprefix(ROOT).strip("/").partition("/")
        if first == "static":
            return _static(rest, request.query)
        if _is_form(request) and "x-csrf-token" not in request.headers:
            return await _problem(403, "problem.html", title="Not done", text=_NO_SCRIPTS)
        if request.method == "POST" and not security.is_from_here(request.headers):
            return await _problem(403, "problem.html", text="This request came from a page of another site.")
        now = time.time()
        session = session_of(request.headers.get("cookie", ""), cookie_name(host), request.sign, now)
        if first == "session":
            return await _sign_in(request, now)
        if session is None or ended.has_ended(session):
            return await _signed_out(request, first)
        return await self._signed_in(request, session, first, rest, now)

    async def _signed_in(
        self, request: PageRequest, session: Session, first: str, rest: str, now: float
    ) -> PageResponse:
        if request.method == "POST":
            return await self._post(request, session, first, rest)
        if first in ("", "login"):
            return _redirect(f"{ROOT}/{_VIEWS[0]}")
        if first == "live" and rest in self._pages and self._pages[rest].live:
            page = self._pages[rest]
            return PageResponse(
                content_type="text/event-stream; charset=utf-8",
                body=self._live.feed(page, self._asked(request, session, page)),
                headers={"x-accel-buffering": "no"},
            )
        if first not in self._pages:
            return await _problem(404, "problem.html", text="There is no such page.")
        page = self._pages[first]
        asked = self._asked(request, session, page)
        response = await (self._below(page, asked, rest) if rest else self._whole(page, asked))
        longer = renewed(session, now)
        if longer is None or not isinstance(response.body, bytes):
            return response
        return replace(response, headers={**response.headers, "set-cookie": _cookie(request, longer, now)})

    async def _whole(self, page: Page, asked: Asked) -> PageResponse:
        asked = replace(asked, statuses=await asked.request.statuses(credentials=page.credentials))
        values = {**await page.show(asked), **asked.frame()}
        if page.live:
            values["feed"] = f"{ROOT}/live/{page.name}?{urlencode(asked.query)}"
        body = await asyncio.to_thread(rendered, page.template, values)
        return PageResponse(content_type=HTML, body=body.encode())

    def _frame(self, page: Page, request: PageRequest, session: Session) -> Mapping[str, object]:
        """What ``layout.html`` shows around every page."""
        return {
            "page": page,
            "pages": list(self._pages.values()),
            "csrf": csrf_token(session, request.sign),
            "feed": "",
            "status": request.status(credentials=False),
        }

    async def _below(self, page: Page, asked: Asked, rest: str) -> PageResponse:
        name, _, rest = rest.partition("/")
        if name not in page.get:
            return await _problem(404, "problem.html", text="There is no such page.")
        return await _answered(page.get[name](replace(asked, rest=rest)))

    async def _post(self, request: PageRequest, session: Session, first: str, rest: str) -> PageResponse:
        if not is_csrf_token(request.headers.get("x-csrf-token", ""), session, request.sign):
            text = "This page is from an earlier session: reload it, then try again. Nothing was changed."
            return await fragment("notice.html", 403, good=False, text=text, more=())
        if first == "logout":
            ended.end(session)
            self._live.poke()
            gone = delete_cookie(cookie_name(request.headers["host"]), session)
            return _go(request, f"{ROOT}/login", {"set-cookie": gone})
        name, _, rest = rest.partition("/")
        page = self._pages.get(first)
        if page is None or name not in page.post:
            return await _problem(404, "problem.html", text="There is no such action.")
        response = await _answered(page.post[name](self._asked(request, session, page, rest)))
        self._live.poke()
        return response

    def _asked(self, request: PageRequest, session: Session, page: Page, rest: str = "") -> Asked:
        form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True) if _is_form(request) else ()
        return Asked(
            request=request,
            session=session,
            rest=rest,
            form=dict(form),
            kept=self._kept[page.name],
            logins=self._logins,
            frame=partial(self._frame, page, request, session),
        )


def _is_form(request: PageRequest) -> bool:
    return request.method == "POST" and request.headers.get("content-type", "").partition(";")[0].strip() == _FORM


async def _answered(answer: object) -> PageResponse:
    """The core's own refusals (no such request, a reload that failed) are words for the user, like any outcome."""
    try:
        response = await answer  # type: ignore[misc]  # an awaitable of a page's function
    except ProxyError as error:
        return await fragment("notice.html", error.status, good=False, text=str(error), more=())
    assert isinstance(response, PageResponse)
    return response


# --- Signing in and out ------------------------------------------------------------------


async def _sign_in(request: PageRequest, now: float) -> PageResponse:
    """``POST /admin/ui/session`` with the admin key in ``Authorization``: the core has compared it."""
    if request.method != "POST":
        return await _problem(405, "problem.html", text="Only POST.", allow="POST")
    if not request.admin:
        log.warning("the dashboard was asked for a session with a wrong admin key")
        return PageResponse(status=401, content_type="text/plain; charset=utf-8", body=b"This is not the admin key.")
    cookie = _cookie(request, begun(now, secure=security.came_by_tls(request.headers)), now)
    return PageResponse(status=204, content_type="text/plain; charset=utf-8", headers={"set-cookie": cookie})


def _cookie(request: PageRequest, session: Session, now: float) -> str:
    return set_cookie(cookie_name(request.headers["host"]), session, request.sign, now)


async def _signed_out(request: PageRequest, first: str) -> PageResponse:
    if first == "login" and request.method != "POST":
        body = await asyncio.to_thread(rendered, "login.html", {})
        return PageResponse(content_type=HTML, body=body.encode())
    after = _address(request) if request.method != "POST" and first not in ("", "live") else ROOT
    address = f"{ROOT}/login?next={quote(after)}"
    if request.method == "POST" or first == "live" or "hx-request" in request.headers:
        headers = {"hx-redirect": address} if "hx-request" in request.headers else {}
        response = await fragment("notice.html", 401, good=False, text="Your session has ended: sign in.", more=())
        return replace(response, headers=headers)
    return _redirect(address)


def _address(request: PageRequest) -> str:
    return quote(request.path) + (f"?{urlencode(request.query)}" if request.query else "")


def _redirect(address: str) -> PageResponse:
    return PageResponse(status=303, content_type=HTML, headers={"location": address})


def _go(request: PageRequest, address: str, headers: Mapping[str, str]) -> PageResponse:
    if "hx-request" in request.headers:
        return PageResponse(status=204, content_type=HTML, headers={**headers, "hx-redirect": address})
    return PageResponse(status=303, content_type=HTML, headers={**headers, "location": address})


# --- Everything else ---------------------------------------------------------------------


def _static(name: str, query: Mapping[str, str]) -> PageResponse:
    file = static_files().get(name)
    if file is None:
        return PageResponse(status=404, content_type="text/plain; charset=utf-8", body=b"There is no such file.")
    known = query.get("v") == file.version
    cached = "public, max-age=31536000, immutable" if known else "no-cache"
    return PageResponse(content_type=file.content_type, body=file.content, headers={"cache-control": cached})


async def _problem(status: int, template: str, *, allow: str = "", **values: object) -> PageResponse:
    response = await fragment(template, status, **values)
    return replace(response, headers={"allow": allow}) if allow else response
