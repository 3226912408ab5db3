"""A complete proxy without sockets: the client calls the application, the provider answers from memory.

With a :class:`VirtualClock` a test of waiting takes milliseconds and its times are exact::

    upstream = MemoryUpstream(clock)
    upstream.responds(429, headers={"retry-after": "30"})
    async with run_in_memory(settings, upstream, folder=tmp_path) as proxy:
        answer, took_s = await clock.timed(proxy.chat("demo/small", "hi"))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp

from proxy_core.dialects.common import json_bytes
from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import (
    API,
    Credential,
    PluginContext,
    PluginInfo,
    Provider,
    ProviderCall,
    ProviderResponse,
    TransportFailed,
)
from proxy_core.messages import UpstreamRequest
from proxy_core.plugins.plugin import Module
from proxy_core.testing.proxy import RunningProxy, prepare_proxy
from proxy_core.testing.upstream import Script, ScriptedUpstream, SeenRequest
from proxy_core.testing.virtual_clock import VirtualClock

_URL = "http://memory/v1"
_PATHS = {"openai_chat": "/chat/completions", "openai_completions": "/completions", "openai_embeddings": "/embeddings"}


class MemoryUpstream(ScriptedUpstream):
    """The upstream of every provider in ``[providers]``, with OpenAI's formats. Its pauses use the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def plugin(self) -> Module:
        """The plugin that defines the providers."""

        def hook(ctx: PluginContext) -> list[Provider]:
            return [self.provider(name) for name in ctx.provider_names()]

        plugin = {"PLUGIN": PluginInfo(name="memory", api=API), "proxy_providers": staticmethod(hookimpl(hook))}
        module: Module = type("Memory", (), plugin)  # type: ignore[assignment]  # a class serves as a module
        return module

    def provider(self, name: str, **fields: Any) -> Provider:
        return Provider(name=name, encode=_encode, send=self._send, dialects=list(_PATHS), **fields)

    async def _send(self, request: UpstreamRequest, credential: Credential) -> ProviderResponse:
        headers = dict(request.headers)
        seen = SeenRequest(
            request.method, urlsplit(request.url).path, headers, request.content, self._clock.monotonic()
        )
        self._note(seen)
        script = self._script(seen)
        if script.reset:
            raise TransportFailed("reset", sent=True)
        return ProviderResponse(
            status=script.status, headers=script.headers, body=ScriptedBody(script, seen, self._clock)
        )


def _encode(call: ProviderCall, credential: Credential) -> UpstreamRequest:
    headers = [("authorization", f"Bearer {credential.secret.get_secret_value()}")]
    path = _PATHS[call.dialect or "openai_chat"]
    return UpstreamRequest(url=_URL + path, headers=headers, content=json_bytes(call.body))


class ScriptedBody:
    """The steps of a script; if it is closed before its end, the request is marked as abandoned."""

    def __init__(self, script: Script, seen: SeenRequest, clock: VirtualClock) -> None:
        self._steps = script.steps
        self._seen = seen
        self._clock = clock
        self._ended = False

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
                await asyncio.sleep(0)
            elif isinstance(step, float | int):
                await self._clock.sleep(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step == "cut":
                self._ended = True
                raise ConnectionResetError("cut")
            else:
                await asyncio.get_running_loop().create_future()
        self._ended = True

    async def aclose(self) -> None:
        if not self._ended:
            self._seen.left_at = self._clock.monotonic()
            self._seen.left.set()


class _Client(httpx.AsyncBaseTransport):
    """Calls the application. Cancelling a request means that the client disconnects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.tasks: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(request, await request.aread())
        task = asyncio.create_task(self._serve(exchange))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        complete = asyncio.ensure_future(exchange.complete.wait())
        try:
            await asyncio.wait({task, complete}, return_when=asyncio.FIRST_COMPLETED)
            if not exchange.complete.is_set():
                await task
        finally:
            complete.cancel()
            exchange.left.set()
        return httpx.Response(exchange.status, headers=exchange.headers, content=b"".join(exchange.body))

    async def _serve(self, exchange: _Exchange) -> None:
        await self._app(exchange.scope, exchange.receive, exchange.send)


class _Exchange:
    """One request in the form of ASGI."""

    def __init__(self, request: httpx.Request, content: bytes) -> None:
        self.scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": ("memory", 80),
        }
        self._content: bytes | None = content
        self.left = asyncio.Event()
        self.complete = asyncio.Event()
        self.status = 0
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.body: list[bytes] = []

    async def receive(self) -> MutableMapping[str, Any]:
        content, self._content = self._content, None
        if content is not None:
            return {"type": "http.request", "body": content, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
            return
        self.body.append(message.get("body", b""))
        if not message.get("more_body", False):
            self.complete.set()


@asynccontextmanager
async def run_in_memory(
    settings: Mapping[str, Any],
    upstream: MemoryUpstream,
    *,
    folder: Path,
    modules: Sequence[Module] = (),
    clock: VirtualClock,
) -> AsyncIterator[RunningProxy]:
    """:func:`~proxy_core.testing.run_proxy` without sockets. ``[providers]`` need no address."""
    running = prepare_proxy(settings, folder=folder, modules=[upstream.plugin(), *modules], clock=clock)
    client = _Client(running.active)
    running.url, running.client = _URL, httpx.AsyncClient(transport=client)
    stop, started = asyncio.Event(), asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if started.is_set():
            await stop.wait()
        return {"type": "lifespan.shutdown" if started.is_set() else "lifespan.startup"}

    async def send(message: MutableMapping[str, Any]) -> None:
        started.set()

    lifespan = asyncio.create_task(running.active({"type": "lifespan"}, receive, send))
    try:
        async with running.client:
            await started.wait()
            yield running
            for task in list(client.tasks):
                task.cancel()
            await asyncio.gather(*client.tasks, return_exceptions=True)
    finally:
        stop.set()
        await lifespan
