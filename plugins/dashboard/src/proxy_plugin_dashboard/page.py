"""What a page of the dashboard is made of, and what its functions get."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from proxy_core import BadRequest, PageRequest, PageResponse, ProcessStatus, repr_without
from proxy_plugin_dashboard.render import rendered
from proxy_plugin_dashboard.session import Session

#: Below this address are the live feeds.
LIVE = "/admin/ui/live/"
HTML = "text/html; charset=utf-8"


class Asked(Struct, frozen=True, kw_only=True):
    """One request to a page. ``rest`` is the path below the page's part, ``form`` what a form sent.

    ``statuses``: of every worker, for ``show`` only. ``kept`` belongs to the page, as long as these settings hold.
    ``frame`` is what ``layout.html`` shows around a page. What ``show`` returns must not depend on the session: all
    feeds with one query share it.
    """

    __repr__ = repr_without("request", "form", "frame")

    request: PageRequest
    session: Session
    rest: str = ""
    form: Mapping[str, str] = field(default_factory=dict)
    statuses: Sequence[ProcessStatus] = ()
    kept: dict[str, Any] = field(default_factory=dict)
    logins: Path
    frame: Callable[[], Mapping[str, object]]

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def is_tick(self) -> bool:
        """Whether a live feed asks, for the next time."""
        return self.request.path.startswith(LIVE)

    @property
    def is_fragment(self) -> bool:
        """Whether a script asks, which replaces a part of the page that is shown."""
        return "hx-request" in self.request.headers

    def given(self, name: str) -> str:
        """A field that the form must have. Raises ``BadRequest``."""
        if not self.form.get(name):
            raise BadRequest(f"The form has no {name}.", param=name)
        return self.form[name]

    async def whole(self, template: str, **values: object) -> PageResponse:
        """A page of its own below this one, from a template that extends ``layout.html``."""
        return await fragment(template, **{**values, **self.frame()})


Show = Callable[[Asked], Awaitable[Mapping[str, object]]]
Handle = Callable[[Asked], Awaitable[PageResponse]]


class Page(Struct, frozen=True, kw_only=True):
    """A page at ``/admin/ui/<name>``, from the template ``<name>.html`` with the values of ``show``.

    ``live``: the blocks of the template that a feed keeps up to date; ``show`` is then called for each tick, so it must
    be quick. ``get`` and ``post`` are what is below the page, by the first part of the path: fragments, files, actions.
    ``credentials``: whether its statuses have to contain every credential.
    """

    name: str
    title: str
    show: Show
    live: tuple[str, ...] = ()
    get: Mapping[str, Handle] = field(default_factory=dict)
    post: Mapping[str, Handle] = field(default_factory=dict)
    credentials: bool = False

    @property
    def template(self) -> str:
        return f"{self.name}.html"


async def fragment(template: str, status: int = 200, /, **values: object) -> PageResponse:
    """A response that is no whole page."""
    body = await asyncio.to_thread(rendered, template, values)
    return PageResponse(status=status, content_type=HTML, body=body.encode())


async def notice(good: bool, text: str, *more: str) -> PageResponse:
    """What an action did, in words. Every action answers with it, also when it failed."""
    return await fragment("notice.html", 200 if good else 409, good=good, text=text, more=more)
