"""Web pages of other origins: those that settings name may call the proxy with a client key, from a browser."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

#: What a page may read of a response besides its body. Not which credential served it: that is the operator's.
_EXPOSED = (
    "Retry-After",
    "Retry-After-Ms",
    "X-Should-Retry",
    "X-Request-Id",
    "X-Proxy-Provider",
    "X-Proxy-Model",
    "X-Proxy-Attempts",
    "X-Proxy-Dropped",
    "X-Proxy-Upstream-Request-Id",
)


_DOUBLED = re.compile("//+")


class CrossOrigin:
    """Around the whole application, so that every error can be read, too. ``closed`` paths stay out of reach for
    pages: those of the operator, and everything below them. Pages of all other origins get what they get without
    this: no header that lets them in."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], closed: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)
        self._closed = tuple(closed)
        # Keys are sent in headers, so no page needs the browser's cookies, and none may use them.
        self._open = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            allow_credentials=False,
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._open if self._lets_in(scope) else self._app)(scope, receive, send)

    def _lets_in(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) != 1 or origins[0] not in self._origins:
            return False
        path = _DOUBLED.sub("/", scope["path"])  # as the application reads it
        return not any(path == place or path.startswith(f"{place}/") for place in self._closed)
