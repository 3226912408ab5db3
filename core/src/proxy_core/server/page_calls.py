"""Requests of a page to its own proxy: through the same application as any other, without a network or a key."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from starlette.types import ASGIApp

from proxy_core.dialects.common import json_bytes
from proxy_core.errors import InternalError
from proxy_core.interfaces import CallResponse
from proxy_core.messages import JsonObject
from proxy_core.server.admin import RELOAD
from proxy_core.server.auth import CALLER

log = logging.getLogger("proxy_core.pages")

_ADMIN = "/admin"
#: What a page's request and its calls have in common.
_SHARED = ("type", "asgi", "http_version", "scheme", "server", "client", RELOAD)


class PageCalls:
    """The calls of one page while it is asked and answered; those that are open after that are ended."""

    def __init__(self, scope: Mapping[str, Any], plugin: str) -> None:
        self._scope = scope
        self._plugin = plugin
        self._open: set[_Call] = set()
        self._over = False
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        for call in list(self._open):
            await call.aclose()
        await self._tasks.__aexit__(None, None, None)  # which would wrap an error of the page

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> CallResponse:
        if self._over:
            raise RuntimeError("the page has been answered, so it can call nothing any more")
        app: ASGIApp = self._scope["app"]
        call = _Call(b"" if body is None else json_bytes(body))
        self._open.add(call)
        running = self._tasks.create_task(call.run(app, self._scope_of(method, path, call.sent)), name="call of a page")
        running.add_done_callback(lambda _: self._open.discard(call))  # a feed may call many times
        try:
            return await call.response()
        except BaseException:
            await call.aclose()
            raise

    def _scope_of(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        raw, _, query = path.partition("?")
        decoded = unquote(raw)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        return {
            **{name: self._scope[name] for name in _SHARED if name in self._scope},
            "method": method,
            "path": decoded,
            "raw_path": raw.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers if body else [],
            CALLER: "admin" if decoded.startswith(f"{_ADMIN}/") else self._plugin,
        }


class _Call:
    """One call: the client's side of the application, and its response as a stream."""

    def __init__(self, sent: bytes) -> None:
        self.sent = sent
        self._asked = False
        self._left = asyncio.Event()
        self._head: asyncio.Future[MutableMapping[str, Any]] = asyncio.get_running_loop().create_future()
        #: The application waits until the page has read what it sent.
        self._pieces = deque[bytes]()
        self._arrived, self._read = asyncio.Event(), asyncio.Event()
        self._ended = self._complete = False

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:  # the response to it has been sent, and a server would log it
            log.exception("a page's call of %s failed", scope["path"])
        finally:
            if not self._head.done():
                self._head.set_exception(InternalError("The proxy did not answer its own page."))
            self._ended = True
            self._arrived.set()

    async def response(self) -> CallResponse:
        head = await self._head
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
        content_type = headers.get("content-type", "")
        whole = "content-length" in headers or not content_type
        body = b"".join([piece async for piece in self]) if whole else self
        return CallResponse(status=head["status"], content_type=content_type, headers=headers, body=body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._read.set()
                yield piece
            if self._ended or self._left.is_set():
                break
            self._arrived.clear()
            await self._arrived.wait()
        if not self._complete:
            raise ConnectionError("the proxy's own response broke off")

    async def aclose(self) -> None:
        """The page has read enough: its request ends as if a client had left."""
        self._left.set()
        self._pieces.clear()
        self._read.set()  # the application may be waiting for its reader,
        self._arrived.set()  # or the reader, which may be another one, for the application

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.sent, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            if not self._head.done():  # the page no longer waits for it
                self._head.set_result(message)
            return
        self._complete = not message.get("more_body", False)
        if body := message.get("body", b""):
            await self._put(body)

    async def _put(self, piece: bytes) -> None:
        if self._left.is_set():
            return
        self._pieces.append(piece)
        self._arrived.set()
        while self._pieces:
            self._read.clear()
            await self._read.wait()
