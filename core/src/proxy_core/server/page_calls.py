"""Requests of a page to its own proxy: through the same application as any other, without a network or a key."""

from __future__ import annotations

import asyncio
import logging
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
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in list(self._open):
            await call.aclose()
        await self._tasks.__aexit__(None, None, None)  # which would wrap an error of the page

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> CallResponse:
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
        #: ``None`` ends it. The application waits until the page has read a piece.
        self._pieces = asyncio.Queue[bytes | None](1)
        self._complete = False

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:  # the response to it has been sent, and a server would log it
            log.exception("a page's call of %s failed", scope["path"])
        finally:
            if not self._head.done():
                self._head.set_exception(InternalError("The proxy did not answer its own page."))
            await self._put(None)

    async def response(self) -> CallResponse:
        head = await self._head
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
        content_type = headers.get("content-type", "")
        whole = "content-length" in headers or not content_type
        body = b"".join([piece async for piece in self]) if whole else self
        return CallResponse(status=head["status"], content_type=content_type, headers=headers, body=body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if not self._complete:
            raise ConnectionError("the proxy's own response broke off")

    async def aclose(self) -> None:
        """The page has read enough: its request ends as if a client had left."""
        self._left.set()
        while not self._pieces.empty():  # the application may be waiting for room
            self._pieces.get_nowait()

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

    async def _put(self, piece: bytes | None) -> None:
        if not self._left.is_set():
            await self._pieces.put(piece)
