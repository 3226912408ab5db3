"""A whole proxy on a real socket, in this process, and a client for it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from proxy_core import sse
from proxy_core.clock import Clock
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.plugins.plugin import Module
from proxy_core.runtime.active import Active
from proxy_core.runtime.generation import Generation
from proxy_core.runtime.process import Process
from proxy_core.runtime.reload import Reloaded, Reloader
from proxy_core.runtime.start import start
from proxy_core.server.serve import check_server, listen, serve_app
from proxy_core.settings.loading import LoadedSettings, load

CLIENT_KEY = "test-client-key"
STATE_SECRET = "test-state-secret"
#: A request that has no response by then hangs.
_LIMIT_S = 120
#: How much of a body a failed assertion shows.
_SHOWN = 300
#: By default, no test has to sleep through the pause before a retry.
_AT_ONCE = {"retry_delay_s": 0.01, "retry_jitter_s": 0}


def fingerprint(key: str) -> str:
    """The id of a credential with this key in responses, logs and statistics of :func:`run_proxy`'s proxies."""
    return Fingerprints(SecretStr(STATE_SECRET))(key)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A response as a client sees it. ``events`` are the JSON payloads of a stream, ``done`` its end marker.

    Its ``repr``, which a failed assertion shows, has the text of an error.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: Sequence[Any] = ()
    done: bool = False

    def __repr__(self) -> str:
        error = self._error()
        if isinstance(error, dict):
            told = f"{error.get('code') or error.get('type') or 'error'}: {error.get('message')}"
        else:
            told = repr(self.body[:_SHOWN].decode("utf-8", "replace")) + ("..." if len(self.body) > _SHOWN else "")
        return f"<Answer {self.status} {told}>"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The text of a chat response, streamed or not."""
        if not self.events:
            if self._error() is not None:
                raise AssertionError(f"an error instead of a text: {self!r}")
            content = self.json["choices"][0]["message"]["content"]
            return content if isinstance(content, str) else ""
        deltas = (c["delta"].get("content") for e in self.events for c in e.get("choices", ()))
        return "".join(delta for delta in deltas if delta)

    @property
    def error(self) -> Any:
        """The error object, of a status or in a stream; ``None`` without one."""
        if self.events:
            return next((e["error"] for e in self.events if "error" in e), None)
        return self.json.get("error")

    def _error(self) -> Any:
        """The same, or ``None`` if the body is not JSON."""
        try:
            return self.error
        except (ValueError, AttributeError):
            return None


@lru_cache(maxsize=1)
def _no_authorities() -> ssl.SSLContext:
    """These take long to read, and a context to make: these proxies do not use TLS."""
    return httpx.create_ssl_context(verify=False)


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=_no_authorities())


@dataclass(slots=True)
class RunningProxy:
    """A listening proxy. ``url`` ends with ``/v1``."""

    active: Active
    reloader: Reloader
    tables: dict[str, Any]
    url: str = ""
    key: str = CLIENT_KEY
    client: httpx.AsyncClient = field(default_factory=_client)

    @property
    def proxy(self) -> Generation:
        """The current generation."""
        return self.active.current

    @property
    def process(self) -> Process:
        """The state that outlives a reload."""
        return self.active.process

    @property
    def stop(self) -> asyncio.Event:
        return self.active.stop

    async def reload(self, **tables: Any) -> Reloaded:
        """Replace these tables of the settings and reload them; ``None`` removes a table."""
        self.tables.update(tables)
        return await self.reloader()

    async def post(
        self, path: str, body: Any, *, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """POST JSON (or raw bytes) below ``/v1``."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json", **(headers or {})}
        return answer(await self.client.post(self.url + path, content=content, headers=sent, timeout=_LIMIT_S))

    async def get(self, path: str, *, key: str | None = None) -> Answer:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return answer(await self.client.get(self.url + path, headers=headers, timeout=_LIMIT_S))

    async def chat(self, model: str, text: str, *, stream: bool = False, **fields: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **fields}
        return await self.post("/chat/completions", body)

    def cooldown_s(self, key: str) -> float:
        """Seconds until the cooldown of the credential with this key ends, for any model; 0 if it has none."""
        left = 0.0
        for pool in self.proxy.pools.values():
            for credential, seconds in pool.cooling_down().items():
                if credential == self.process.fingerprint(key):
                    left = max(left, seconds)
        return left


def answer(response: httpx.Response) -> Answer:
    body = response.content
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        return Answer(response.status_code, response.headers, body)
    events = list(sse.events(body))
    payloads = [json.loads(e.data) for e in events if not e.data.startswith(b"[DONE]")]
    if (last := body.rstrip().rpartition(b"\n")[2]).startswith(b"{"):  # a dialect's error that is no event
        payloads.append(json.loads(last))
    return Answer(response.status_code, response.headers, body, payloads, any(e.data == b"[DONE]" for e in events))


def composed(settings: Mapping[str, Any], *, folder: Path) -> Generation:
    """A composed proxy that is not opened; ``folder`` is its working and data directory."""
    return start(load(overrides=dict(settings), environ={"PROXY_DATA_DIR": str(folder / "data")}, cwd=folder)).current


@asynccontextmanager
async def run_proxy(
    settings: Mapping[str, Any],
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    modules: Sequence[Module] = (),
    clock: Clock | None = None,
) -> AsyncIterator[RunningProxy]:
    """Compose and serve a proxy; ``folder`` is its working and data directory.

    ``settings`` are the tables of ``proxy-core.toml``. Without ``[clients]`` there is one client
    with the key ``CLIENT_KEY``; without ``[state]`` nothing is kept on disk; without ``[routing]
    retry_delay_s`` a retry follows immediately. The process's own environment is not read.
    """
    running = prepare_proxy(settings, folder=folder, environ=environ, modules=modules, clock=clock)
    active, server = running.active, running.proxy.loaded.settings.server
    http_server = check_server(server, active.current.catalog.http_servers)
    sock = listen(server)
    running.url = _url(sock)
    serving = asyncio.create_task(
        serve_app(active, http_server, server, sock, running.stop, retire=active.retire, interrupt=active.interrupt)
    )
    try:
        async with running.client:
            yield running
    finally:
        running.stop.set()
        await serving
        for _ in range(3):  # closed transports let go of their sockets in the loop's next passes
            await asyncio.sleep(0)


def prepare_proxy(
    settings: Mapping[str, Any],
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    modules: Sequence[Module] = (),
    clock: Clock | None = None,
) -> RunningProxy:
    """Compose a proxy, without serving it yet: it has no ``url``."""
    tables = {"clients": {"test": {"key": CLIENT_KEY}}, "state": {"url": "memory:", "secret": STATE_SECRET}, **settings}
    tables["server"] = {"host": "127.0.0.1", "port": 0, "shutdown_grace_s": 1.0, **tables.get("server", {})}
    names = {"PROXY_DATA_DIR": str(folder / "data"), **(environ or {})}

    def read() -> LoadedSettings:
        given = {name: table for name, table in tables.items() if table is not None}
        given["routing"] = {**_AT_ONCE, **given.get("routing", {})}
        return load(overrides=given, environ=names, cwd=folder)

    active = start(read(), clock, modules)
    reloader = Reloader(active=active, read=read, modules=modules)
    active.reload = reloader
    return RunningProxy(active, reloader, tables)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://{host}:{port}/v1"
