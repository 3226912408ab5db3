"""A scripted upstream on a real socket: it sends exactly the bytes that a test specifies, when specified.

::

    async with FakeUpstream() as upstream:
        upstream.for_key("key-a").responds(429, headers={"retry-after": "30"})
        upstream.for_key("key-b").streams("hel", "lo")

Each script is used once, in order; the last one of a key serves all further requests. All requests are in ``requests``.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import h11
import msgspec

from proxy_core import ndjson
from proxy_core.testing.steps import Step, chunk, pause


@dataclass(frozen=True, slots=True)
class Script:
    """One response: a status, headers, and steps (bytes, pauses, a cut, a stall).

    ``reset`` drops the connection instead of responding. ``close`` ends the body by closing the
    connection instead of sending its length. ``raw`` sends the steps as they are, without a head
    and a framing of its own.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    reset: bool = False
    close: bool = False
    raw: bool = False


#: In this order; a request has one of them.
_KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


class SeenRequest(msgspec.Struct):
    """A request as it arrived. ``left`` is set to the time when the other side closed early."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = msgspec.field(default_factory=time.monotonic)
    left: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    left_at: float | None = None
    key_headers: Sequence[str] = _KEY_HEADERS

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        """The credential: from ``key_header`` of the upstream, or from the headers in which APIs take keys."""
        return next(
            (self.headers[name].removeprefix("Bearer ") for name in self.key_headers if name in self.headers), ""
        )


class Scripts:
    """The scripts of one key, or of every key."""

    def __init__(self) -> None:
        self.queue: list[Script] = []

    def next(self) -> Script | None:
        if not self.queue:
            return None
        return self.queue.pop(0) if len(self.queue) > 1 else self.queue[0]

    def add(self, script: Script) -> None:
        self.queue.append(script)

    def responds(
        self,
        status: int = 200,
        json_body: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A whole response; without a body, a chat completion (or an error object for an error status)."""
        if body is None:
            body = json.dumps(_default(status) if json_body is None else json_body).encode()
        self.add(Script(status, {"content-type": "application/json", **(headers or {})}, (body,)))

    def streams(
        self,
        *texts: str,
        finish: str = "stop",
        usage: Mapping[str, Any] | None = None,
        gap_s: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A complete event stream of chat chunks, one for each text."""
        steps: list[Step] = [chunk({"role": "assistant", "content": ""})]
        for text in texts:
            steps += [pause(gap_s)] if gap_s else []
            steps.append(chunk({"content": text}))
        steps.append(chunk({}, finish=finish))
        if usage:
            steps.append(chunk(usage=usage))
        self.says(*steps, b"data: [DONE]\n\n", headers=headers)

    def says(
        self, *steps: Step, status: int = 200, headers: Mapping[str, str] | None = None, close: bool = False
    ) -> None:
        """An event stream of exactly these steps; ``close`` ends it without a length."""
        self.add(Script(status, {"content-type": "text/event-stream", **(headers or {})}, steps, close=close))

    def lines(
        self, *steps: Mapping[str, Any] | Step, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """JSON lines: each object is one, sent for itself; other steps are as in :meth:`says`."""
        written = [json.dumps(step).encode() + b"\n" if isinstance(step, Mapping) else step for step in steps]
        self.add(Script(status, {"content-type": ndjson.CONTENT_TYPE, **(headers or {})}, written))

    def sends(self, *steps: Step) -> None:
        """Exactly these bytes, which need not be HTTP; then the connection is closed."""
        self.add(Script(steps=steps, raw=True))

    def resets(self) -> None:
        """No response: the connection is dropped when the request has arrived."""
        self.add(Script(reset=True))


def _default(status: int) -> dict[str, Any]:
    if status >= 400:
        return {"error": {"message": f"scripted {status}", "type": "scripted", "code": None}}
    message = {"role": "assistant", "content": "hello"}
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


class ScriptedUpstream(Scripts):
    """Records requests and has their scripts. Scripts added to it apply to every key; ``for_key`` adds them for one."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[SeenRequest] = []
        self._by_key: dict[str, Scripts] = {}
        self._by_path: dict[str, Scripts] = {}
        #: The header with the credential, in lower case, if it is none of the usual ones.
        self.key_header: str | None = None

    def for_key(self, key: str) -> Scripts:
        return self._by_key.setdefault(key, Scripts())

    def for_path(self, path: str) -> Scripts:
        """Scripts for one path below the base URL, such as ``/models``."""
        return self._by_path.setdefault(path, Scripts())

    @property
    def keys_seen(self) -> list[str]:
        return [request.key for request in self.requests]

    @property
    def last(self) -> SeenRequest:
        return self.requests[-1]

    def _note(self, request: SeenRequest) -> None:
        if self.key_header is not None:
            request.key_headers = (self.key_header,)
        self.requests.append(request)

    def _script(self, request: SeenRequest) -> Script:
        """The script for this request: that of its path, its key, every key, or the default."""
        path = self._by_path.get(request.path.partition("?")[0].removeprefix("/v1"))
        for scripts in (path, self._by_key.get(request.key), self):
            script = scripts.next() if scripts else None
            if script is not None:
                return script
        if request.path.endswith("/models"):
            return Script(200, {"content-type": "application/json"}, (b'{"object":"list","data":[{"id":"small"}]}',))
        if b'"stream":true' in request.body.replace(b" ", b""):
            scripts = Scripts()
            scripts.streams("hel", "lo")
            return scripts.queue[0]
        return Script(200, {"content-type": "application/json"}, (json.dumps(_default(200)).encode(),))


class FakeUpstream(ScriptedUpstream):
    """The server, at ``port`` or any."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsent: list[asyncio.StreamWriter] = []
        self.connections = 0
        #: How a connection ends when a second request arrives on it, as if it had died in the client's pool.
        self.ends_reused: Literal["reset", "close"] | None = None

    @property
    def url(self) -> str:
        """The base URL, including the version."""
        assert self._server is not None, "the upstream is not running"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await _stop_accepting(self._server)
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._unsent:
            writer.transport.abort()
        await asyncio.sleep(0)  # transports close in the next turn

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._converse(_Connection(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if writer.transport.get_write_buffer_size():  # closed when it is sent, at the latest when the upstream ends
                self._unsent.append(writer)

    async def _converse(self, connection: _Connection) -> None:
        reused = False
        while (request := await connection.receive()) is not None:
            if reused and self.ends_reused is not None:
                connection.end(self.ends_reused)
                return
            reused = True
            self._note(request)
            script = self._script(request)
            if script.reset:
                connection.drop()
                return
            watch = asyncio.ensure_future(connection.watch(request))
            try:
                alive = await connection.answer(script, request)
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            if not alive or request.left.is_set():
                return


async def _stop_accepting(server: asyncio.Server) -> None:
    """Before it closes: a closed server leaves connections open that it has accepted, but not begun to serve."""
    for sock in server.sockets:
        with suppress(NotImplementedError):  # of Windows' event loop
            asyncio.get_running_loop().remove_reader(sock)
    for _ in range(3):  # what was just accepted gets its transport, and then its task, in a turn of its own each
        await asyncio.sleep(0)


class _Connection:
    """One HTTP/1.1 connection, with h11 reading and raw bytes going out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> SeenRequest | None:
        head: h11.Request | None = None
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                return SeenRequest(head.method.decode(), head.target.decode(), headers, body)
            else:
                return None

    async def watch(self, request: SeenRequest) -> None:
        """Notice when the other side closes before the response is complete."""
        try:
            while data := await self._reader.read(65536):
                self._http.receive_data(data)
        except ConnectionError:
            pass
        request.left_at = time.monotonic()
        request.left.set()

    async def answer(self, script: Script, request: SeenRequest) -> bool:
        """Send the script; ``False`` if the connection cannot be used any more."""
        if not script.raw:
            headers: Iterable[tuple[str, str]] = [*script.headers.items(), *self._framing(script)]
            self._write(self._http.send(h11.Response(status_code=script.status, headers=list(headers))))
        for step in script.steps:
            if isinstance(step, bytes):
                if step:
                    self._write(step if script.raw else self._http.send(h11.Data(data=step)))
                    await self._writer.drain()
                    await asyncio.sleep(0)
            elif isinstance(step, float | int):
                await asyncio.sleep(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step == "cut":
                self.drop()
                return False
            else:
                await request.left.wait()
                return False
        if script.raw:
            return False
        self._write(self._http.send(h11.EndOfMessage()))
        if self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _framing(self, script: Script) -> list[tuple[str, str]]:
        if script.close:
            return [("connection", "close")]
        if len(script.steps) == 1 and isinstance(script.steps[0], bytes):
            return [("content-length", str(len(script.steps[0])))]
        return [("transfer-encoding", "chunked")]

    def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)

    def drop(self) -> None:
        self._writer.transport.abort()

    def end(self, how: Literal["reset", "close"]) -> None:
        """With an RST, or with a FIN."""
        if how == "close":
            self._writer.close()
            return
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.drop()
