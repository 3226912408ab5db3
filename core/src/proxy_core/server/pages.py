"""Serves pages that plugins add for the operator: checks the key, applies limits and handles pages that fail."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct, field
from starlette.routing import Route

from proxy_core.errors import PluginError, PluginFailed, ProxyError, Unauthorized, Unavailable
from proxy_core.interfaces import AdminPage, ByteStream, PageRequest, PageResponse
from proxy_core.plugins.faults import Faults, Site, is_from_outside
from proxy_core.plugins.registry import Catalog, overlap
from proxy_core.records.log import REQUEST_ID
from proxy_core.server.admin import RELOAD
from proxy_core.server.auth import ClientKeys
from proxy_core.server.bodies import BodyParts
from proxy_core.server.errors import error_headers, send_json
from proxy_core.server.interrupt import ClientLeft, ClientWatch, Interruptible, Receive, ServerStopping
from proxy_core.server.page_calls import PageCalls
from proxy_core.server.request_headers import Headers, id_headers, read
from proxy_core.server.status_endpoint import Statuses
from proxy_core.server.wording import Wording
from proxy_core.settings.loading import LoadedSettings

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MAX_BODY_BYTES = 1024 * 1024
_ANSWER_S = 30.0
_CLOSE_S = 5.0
#: Concurrent live feeds; each has a connection and a task.
_MAX_FEEDS = 100
#: Headers that a page may replace.
_DEFAULTS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Feeds:
    """The live feeds of one generation's pages, so that they can be ended."""

    def __init__(self) -> None:
        self._open: set[Interruptible] = set()

    def __len__(self) -> int:
        return len(self._open)

    def began(self, feed: Interruptible) -> None:
        """Raises ``Unavailable`` if there are too many."""
        if len(self._open) >= _MAX_FEEDS:
            raise Unavailable(f"{_MAX_FEEDS} live feeds are open already, which is the limit.")
        self._open.add(feed)

    def ended(self, feed: Interruptible) -> None:
        self._open.discard(feed)

    def end_all(self) -> None:
        """End all feeds; their clients reconnect to the next generation."""
        for feed in list(self._open):
            feed.interrupt(ServerStopping())


class PageServices(Struct, frozen=True, kw_only=True):
    """What every page needs. ``keys`` contains only the admin key."""

    keys: ClientKeys
    statuses: Statuses
    settings: LoadedSettings
    wording: Wording
    faults: Faults
    feeds: Feeds = field(default_factory=Feeds)
    answer_s: float = _ANSWER_S


def page_routes(catalog: Catalog, services: PageServices, taken: Collection[str]) -> list[Route]:
    """Routes, exact paths first. Raises ``PluginError`` for a page that overlaps with ``taken``, the core's own."""
    routes = []
    for page in sorted(catalog.admin_pages, key=lambda page: (page.path.endswith("/*"), -len(page.path))):
        plugin = catalog.owner("proxy_admin_pages", page.path)
        for path in taken:
            if overlap(page.path, path.partition("{")[0] + "*" if "{" in path else path):
                raise PluginError(plugin, f"page {page.path!r} overlaps with {path!r} of the core itself")
        path = page.path.removesuffix("*") + "{below:path}" if page.path.endswith("/*") else page.path
        routes.append(Route(path, PageEndpoint(page, plugin, services), methods=list(page.methods)))
    return routes


class PageEndpoint:
    """The ASGI application behind a page."""

    def __init__(self, page: AdminPage, plugin: str, services: PageServices) -> None:
        self._page = page
        self._plugin = plugin
        self._services = services
        self._signing_key = _signature(services.statuses.admin_key.encode(), f"pages of {plugin}".encode())
        # Cookies are passed on: a page may have a session of its own.
        self._key_headers = {"authorization", "proxy-authorization", *services.keys.places.headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = read(scope["headers"]).request_id
        REQUEST_ID.set(request_id)
        ids = id_headers(request_id)
        try:
            async with PageCalls(scope, self._plugin) as calls:
                response = await self._respond(await self._read(scope, receive, calls))
                if isinstance(response.body, bytes):
                    await _send_whole(send, response, ids)
                else:
                    await self._send_feed(scope, receive, send, response, response.body, ids)
        except ClientLeft:
            return
        except ProxyError as error:
            encoded = self._services.wording.dialect_of(scope).encode_error(error, request_id)
            await send_json(send, encoded.status, encoded.body, ids + error_headers(error, encoded))

    async def _read(self, scope: Scope, receive: Receive, calls: PageCalls) -> PageRequest:
        """Raises ``Unauthorized``, ``BodyTooLarge``, ``ClientLeft``."""
        admin = self._is_admin(scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        headers = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in self._key_headers]
        return PageRequest(
            method=scope["method"],
            path=scope["path"],
            query={name: value for name, value in query if name not in self._services.keys.places.parameters},
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
            body=await _body(receive),
            admin=admin,
            status=self._services.statuses.own,
            statuses=self._services.statuses.all,
            call=calls.call,
            settings=self._services.settings,
            read_settings=scope[RELOAD].read if RELOAD in scope else lambda: self._services.settings,
            sign=partial(_signature, self._signing_key),
        )

    def _is_admin(self, scope: Scope) -> bool:
        try:
            self._services.keys.identify(scope)
        except Unauthorized:
            if not self._page.public:
                raise
            return False
        return True

    async def _respond(self, request: PageRequest) -> PageResponse:
        """Raises a ``ProxyError``: the page's own, or ``PluginFailed``."""
        try:
            async with asyncio.timeout(self._services.answer_s):
                return await self._page.respond(request)
        except TimeoutError as error:
            raise self._complained(error) from error

    async def _send_feed(
        self, scope: Scope, receive: Receive, send: Send, response: PageResponse, body: ByteStream, ids: Headers
    ) -> None:
        """Send a feed until it ends, its client disconnects, the settings are reloaded or the server stops."""
        feeds, feed = self._services.feeds, Interruptible()
        try:
            feeds.began(feed)
            await send({"type": "http.response.start", "status": response.status, "headers": _headers(response, ids)})
            try:
                async with feed:
                    with ClientWatch(receive, feed):
                        if scope["method"] != "HEAD":
                            async for piece in body:
                                await send({"type": "http.response.body", "body": piece, "more_body": True})
            except ServerStopping:
                pass
            except ClientLeft:
                return
            except BaseException as error:  # a plugin may fail in any way; the client sees its connection end early
                if is_from_outside(error):
                    raise
                self._complained(error)
                return
            await send({"type": "http.response.body", "body": b""})
        finally:
            feeds.ended(feed)
            await self._close(body)

    async def _close(self, body: ByteStream) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await body.aclose()
        except BaseException as error:  # as above
            if is_from_outside(error):
                raise
            self._complained(error)

    def _complained(self, error: BaseException) -> PluginFailed:
        return self._services.faults.raised(Site(plugin=self._plugin, role="page", name=self._page.path), error)


def _signature(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


async def _body(receive: Receive) -> bytes:
    parts = BodyParts(_MAX_BODY_BYTES)
    while not parts.complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.add(message.get("body", b""), last=not message.get("more_body", False))
    return parts.whole()


async def _send_whole(send: Send, response: PageResponse, ids: Headers) -> None:
    body = response.body
    assert isinstance(body, bytes)  # otherwise it is a feed
    headers = [*_headers(response, ids), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(response: PageResponse, ids: Headers) -> Headers:
    named = {**_DEFAULTS, **{name.lower(): value for name, value in response.headers.items()}}
    named["content-type"] = response.content_type
    return [*((name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()), *ids]
