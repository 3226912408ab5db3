"""Plays faults: a client in front of a gateway, and the upstream behind it, both here."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
from msgspec import Struct

from proxy_core.testing.faults import OPENAI, Fault, Scene, Seen, Stage, seen
from proxy_core.testing.upstream import FakeUpstream, Script, SeenRequest

#: A request says in its text to which fault it belongs, so that any gateway in between will do.
_MARK = re.compile(rb"fault-run-(\d+)")
_LEAVING_S = 5.0
_PAUSE_S = 1.0


class FaultUpstream(FakeUpstream):
    """The upstream: finds the fault of each request, and remembers the request."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.stages: list[Stage] = []
        self.asked: dict[int, list[SeenRequest]] = {}
        self._arrived: dict[int, asyncio.Event] = {}

    def arrived(self, number: int) -> asyncio.Event:
        """Set when a request of this run has come."""
        return self._arrived.setdefault(number, asyncio.Event())

    def _script(self, request: SeenRequest) -> Script:
        mark = _MARK.search(request.body)
        if mark is None:
            return super()._script(request)
        number = int(mark[1])
        self.asked.setdefault(number, []).append(request)
        self.arrived(number).set()
        stage = self.stages[number]
        return stage.script(request.key)


class Gateway(Struct, frozen=True, kw_only=True):
    """What is tried: its base URL, with ``/v1`` or whatever it has, a key and a model of it."""

    url: str
    key: str
    model: str
    patience_s: float = 60.0


class Result(Struct, frozen=True, kw_only=True):
    """One fault in one mode. ``problem`` is ``None`` if the client saw what it must see, or it was not ``played``."""

    name: str
    group: str
    why: str
    must: str
    stream: bool
    problem: str | None
    saw: str
    took_s: float = 0.0
    played: bool = True


class Player:
    """Sends requests through a gateway to ``upstream``."""

    def __init__(self, gateway: Gateway, upstream: FaultUpstream, http: httpx.AsyncClient) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._http = http

    async def reaches(self) -> Seen:
        """A good request: whether the gateway is there, and has this upstream behind it."""
        found, _ = await self._ask(None, stream=False)
        return found

    async def recovers(self, within_s: float) -> bool:
        """Whether good requests are answered again, after what was played before."""
        until = time.monotonic() + within_s
        while (await self.reaches()).status != 200:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_PAUSE_S)
        return True

    async def play(self, fault: Fault, *, stream: bool) -> Result:
        began, number = time.monotonic(), self._stage(fault, stream)
        found = [await self._exchange(number, fault, stream) for _ in range(fault.requests)]
        problem = fault.problem(found, _text())
        return Result(
            name=fault.name,
            group=fault.group,
            why=fault.why,
            must=fault.must,
            stream=stream,
            problem=problem,
            saw="; ".join(dict.fromkeys(map(str, found))),
            took_s=round(time.monotonic() - began, 2),
        )

    def _stage(self, fault: Fault | None, stream: bool) -> int:
        scene = Scene(wire=OPENAI, stream=stream, now=datetime.now(UTC))
        self._upstream.stages.append(Stage(scene=scene, fault=fault))
        return len(self._upstream.stages) - 1

    async def _ask(self, fault: Fault | None, *, stream: bool) -> tuple[Seen, int]:
        number = self._stage(fault, stream)
        return await self._exchange(number, fault, stream), number

    async def _exchange(self, number: int, fault: Fault | None, stream: bool) -> Seen:
        """One request, read to its end or until its client leaves."""
        leaves, keys = fault.leaves if fault else "", self._upstream.stages[number].keys
        before, began = len(keys), time.monotonic()
        status, headers, body, broken = None, {}, b"", ""
        try:
            async with asyncio.timeout(self._gateway.patience_s):
                if leaves == "sent":
                    await self._send_and_leave(number, stream)
                else:
                    async with self._sent(number, stream) as response:
                        status, headers = response.status_code, dict(response.headers)
                        async for piece in response.aiter_bytes():
                            body += piece
                            if leaves and b"content" in body:
                                break
        except TimeoutError:
            broken = f"no end after {self._gateway.patience_s:g} s"
        except httpx.HTTPError as error:
            broken = f"the connection broke ({type(error).__name__})"
        took_s = time.monotonic() - began
        return seen(
            status,
            headers,
            body,
            keys=keys[before:],
            broken=broken,
            took_s=took_s,
            left_alone_s=await self._left_alone_s(number) if leaves else None,
        )

    async def _send_and_leave(self, number: int, stream: bool) -> None:
        """Leave when the upstream has the request."""
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._read(number, stream))
            arrived = tasks.create_task(self._upstream.arrived(number).wait())
            await asyncio.wait((asking, arrived), return_when=asyncio.FIRST_COMPLETED)
            asking.cancel()
            arrived.cancel()

    async def _read(self, number: int, stream: bool) -> None:
        """To the end: a response that is cancelled while it closes leaves its connection open."""
        async with self._sent(number, stream) as response:
            async for _ in response.aiter_raw():
                pass

    @asynccontextmanager
    async def _sent(self, number: int, stream: bool) -> AsyncIterator[httpx.Response]:
        text = f"fault-run-{number}"
        body = {"model": self._gateway.model, "messages": [{"role": "user", "content": text}], "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {"authorization": f"Bearer {self._gateway.key}", "content-type": "application/json"}
        url = self._gateway.url.rstrip("/") + "/chat/completions"
        async with self._http.stream("POST", url, content=json.dumps(body), headers=headers, timeout=None) as response:
            yield response

    async def _left_alone_s(self, number: int) -> float | None:
        """Seconds until the gateway let go of the upstream, for a few seconds at most."""
        began = time.monotonic()
        for request in self._upstream.asked.get(number, ()):
            try:
                await asyncio.wait_for(request.left.wait(), _LEAVING_S)
            except TimeoutError:
                return None
        return time.monotonic() - began


def _text() -> str:
    return seen(200, {"content-type": "text/event-stream"}, OPENAI.stream).text


def not_played(fault: Fault, *, stream: bool, after_s: float | None = None) -> Result:
    """``after_s``: so long a gateway was given to recover that must have credentials left."""
    problem = None
    if after_s is not None:
        problem = f"good requests fail for {after_s:g} s after what was played before: it does not recover"
    return Result(
        name=fault.name,
        group=fault.group,
        why=fault.why,
        must=fault.must,
        stream=stream,
        problem=problem,
        saw="no credential is left after what was played before",
        played=False,
    )


def exhausts(fault: Fault) -> bool:
    """Whether no credential may work for a while afterwards."""
    return fault.hits == "every" and fault.group in ("limits", "credentials")


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """Those after which nothing may work for a while come last."""
    return sorted(faults, key=lambda fault: (exhausts(fault), fault.hits == "every" and fault.group == "outages"))
