"""Refreshes under fire: many processes and one outside program share one linked file; workers are killed at random.

Each worker is a process that refreshes the same credential over and over, as if every access token
had just been refused. The outside program knows only its file and its lock, nothing of the proxy. The
server rotates refresh tokens and strictly ends a login whose old token is sent again; the soak then
logs in again. The soak fails if a refresh token is spent twice, or lost when it must not be.

A server that does not rotate refresh tokens, such as Google's, accepts the same one again and again. There,
the soak fails if the login is ever refused or the shared file loses any data, although the outside program uses
no lock and writes the file in place.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

from msgspec.structs import replace

from benchmarks.refresh_vendors import VENDORS, Vendor
from proxy_core.clock import SystemClock
from proxy_core.credentials.journal import Journal
from proxy_core.credentials.refresh import refresh_once
from proxy_core.credentials.stored import StoredCredential, VaultProblem, digest
from proxy_core.credentials.vault import Vault
from proxy_core.files import write_private
from proxy_core.interfaces import HttpClient, HttpResponse, LoginRequired, RetryRefresh, Tokens
from proxy_core.messages import UpstreamRequest
from proxy_core.testing.oauth import open_exchange
from proxy_plugin_oauth import LockFile

#: Data in the file that only the outside program knows.
_THEIRS = {"theirs": {"kept": True}}


# --- The workers, each in its own process ------------------------------------------------


@dataclass(slots=True)
class Trace:
    """Writes one line per event to a file. The operating system has each line at once, so a kill loses none."""

    descriptor: int

    def __call__(self, event: str, **about: object) -> None:
        os.write(self.descriptor, json.dumps({"event": event, "at": time.time(), **about}).encode() + b"\n")


def traced(exchange: HttpClient, trace: Trace) -> HttpClient:
    """Trace each response as soon as it reaches the process, before any other code sees it."""

    async def send(request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse:
        answer = await exchange(request, timeout_s=timeout_s)
        trace("answer", body=answer.body.decode())
        return answer

    return send


async def work(vendor: Vendor, base: str, folder: Path, trace: Trace, pause_s: float) -> None:
    """A worker of a proxy that refreshes its tokens forever."""
    vault, refresher = Vault(folder, [vendor.file]), vendor.refresher(base)
    clock = SystemClock()
    async with open_exchange() as exchange:
        traced_exchange = traced(exchange, trace)
        (stored,) = await asyncio.to_thread(vault.all, vendor.provider)
        trace("ready")
        while True:
            try:
                done = await refresh_once(stored, refresher, traced_exchange, vault, clock)
                stored = done.stored
                trace(done.how, window_s=done.window_s, durable_s=done.durable_s)
            except LoginRequired as error:
                trace("login", why=str(error), token=digest(vault.read(stored).refresh_token))
                await asyncio.sleep(0.2)
            except (RetryRefresh, VaultProblem) as error:
                trace("later", why=str(error))
                await asyncio.sleep(0.05)
            await asyncio.sleep(random.uniform(0, pause_s))


async def work_outside(vendor: Vendor, base: str, file: Path, trace: Trace, pause_s: float) -> None:
    """The vendor's own program: take the lock if there is one, read, refresh, write. It has no journal."""
    refresher = vendor.refresher(base)
    trace("ready")
    async with open_exchange() as exchange:
        while True:
            await asyncio.sleep(random.uniform(0, pause_s * 4))
            lock = LockFile(vendor.file.lock(file).path, guarded=False) if vendor.file.lock is not None else None
            while lock is not None and not lock.try_acquire():  # noqa: ASYNC110  # the other holder is another process
                await asyncio.sleep(0.02)
            try:
                data = await asyncio.to_thread(file.read_bytes)
                blank = StoredCredential(provider=vendor.provider, name="outside", kind=refresher.kind)
                # It has a project, so that it only refreshes, like the vendor's program.
                held = replace(blank.with_tokens(vendor.file.read(data)), details={"project_id": "its own"})
                tokens = await refresher.refresh(held.credential(str), exchange)
                _write(vendor, file, data, held.with_tokens(tokens))
                trace("outside refreshed", now=digest(tokens.refresh_token))
            except (LoginRequired, RetryRefresh) as error:
                trace("outside refused", why=str(error))
            finally:
                if lock is not None:
                    lock.release()


def _write(vendor: Vendor, file: Path, old: bytes, stored: StoredCredential) -> None:
    assert vendor.file.write is not None
    data = vendor.file.write(old, stored.credential(str))
    if vendor.file.lock is not None:
        write_private(file, data)
    else:
        file.write_bytes(data)


def child(vendor: str, name: str, base: str, place: Path, trace_file: Path, pause_s: float) -> None:
    """A process of the soak, until it is killed."""
    trace = Trace(os.open(trace_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    does = work_outside if name == "outside" else work
    asyncio.run(does(VENDORS[vendor], base, place, trace, pause_s))


# --- The soak ----------------------------------------------------------------------------


@dataclass(slots=True)
class Result:
    """The result. ``lost``: logins that ended because of a kill, by when the kill happened.

    ``forgiven``: the same, if the server repeated its response within the reuse window.
    """

    accepted: int = 0
    spent_twice: int = 0
    kills: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    forgiven: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    windows_us: list[float] = field(default_factory=list)
    durables_us: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.spent_twice and not self.unexplained


class Soak:
    """Runs the server, the shared file and the processes, and kills processes."""

    def __init__(
        self,
        folder: Path,
        *,
        vendor: str,
        proxies: int,
        workers: int,
        kill_s: float,
        pause_s: float,
        outside: bool,
        reuse_s: float,
        delay_s: float,
    ) -> None:
        self._folder = folder
        self._file = folder / "oauth_creds.json"
        self._vendor = VENDORS[vendor]
        self._server = self._vendor.server(reuse_s)
        self._server.delay_s = delay_s
        self._kill_s = kill_s
        self._pause_s = pause_s
        self._names = [f"proxy-{p}/worker-{w}" for p in range(proxies) for w in range(workers)]
        self._names += ["outside"] if outside else []
        self._running: dict[str, BaseProcess] = {}
        # Forked from a process that has imported everything; otherwise kills would hit them while importing.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["benchmarks.refresh_fire"])
        self._result = Result()
        self._journaled: set[str] = set()

    async def run(self, refreshes: int, limit_s: float) -> Result:
        began = time.monotonic()
        async with self._server:
            self._log_in()
            for name in self._names:
                if name != "outside":
                    vendor, vault = self._vendor, Vault(self._vault(name), [self._vendor.file])
                    if not vault.all(vendor.provider):
                        vault.import_link(vendor.provider, vendor.kind, self._file, vendor.file)
            for name in self._names:
                await self._start(name)
            while len(self._server.accepted) < refreshes and time.monotonic() - began < limit_s:
                await asyncio.sleep(random.uniform(0.2, 1.8) * self._kill_s)
                await self._kill(random.choice(self._names))
                self._heal()
            for name in self._names:
                await self._kill(name, again=False)
            self._look_at_file()
        self._result.seconds = time.monotonic() - began
        self._count()
        return self._result

    def _vault(self, name: str) -> Path:
        return self._folder / name.partition("/")[0] / "credentials"

    async def _start(self, name: str) -> None:
        place = self._file if name == "outside" else self._vault(name)
        trace = self._folder / f"{name.replace('/', '-')}.trace"
        about = (self._vendor.provider, name, self._server.base, place, trace, self._pause_s)
        process = self._processes.Process(target=child, args=about, daemon=True)
        await asyncio.to_thread(process.start)
        self._running[name] = process

    async def _kill(self, name: str, *, again: bool = True) -> None:
        """Kill a process. The outside program is killed only at the end, because it has no journal."""
        if name == "outside" and again:
            return
        process = self._running[name]
        if process.exitcode is not None:
            self._result.unexplained.append(f"{name} ended by itself with {process.exitcode}")
        else:
            process.kill()
            self._result.kills += again
        await asyncio.to_thread(process.join)
        self._look_at_journal()
        if not again and name == "outside":
            self._finish_writing()
        if again:
            await self._start(name)

    def _look_at_journal(self) -> None:
        """Note the journal's token. A journaled response survives any kill: its predecessor must not be sent again."""
        entry = Journal(self._file.with_name(f".{self._file.name}.proxy-core.journal")).read()
        if entry is not None and entry.answer is not None and self._vendor.rotates:
            self._journaled.add(json.loads(entry.answer.body)["refresh_token"])

    def _finish_writing(self) -> None:
        """Replace a half-written file, if the outside program was killed while writing in place."""
        if self._vendor.file.lock is None and not self._file.read_bytes().endswith(b"}"):
            self._log_in()

    def _look_at_file(self) -> None:
        """Check that in the end the file is complete and still has the outside program's own data."""
        data = self._file.read_bytes()
        if {**json.loads(data), **_THEIRS} != json.loads(data):
            self._result.unexplained.append("the file lost data of the outside program")
        kept = self._vendor.file.read(data).refresh_token
        if not self._vendor.rotates and (kept is None or kept.get_secret_value() != self._server.families[-1].current):
            self._result.unexplained.append("the file lost its refresh token")

    def _log_in(self) -> None:
        tokens: Tokens = self._server.issue()
        held = StoredCredential(provider=self._vendor.provider, name="x", kind="x").with_tokens(tokens)
        assert self._vendor.file.write is not None
        write_private(self._file, self._vendor.file.write(json.dumps(_THEIRS).encode(), held.credential(str)))

    def _heal(self) -> None:
        """Log in again if the login was lost, as the error message asks."""
        if self._server.families[-1].revoked:
            self._log_in()

    def _count(self) -> None:
        result, server = self._result, self._server
        taken = Counter(s.token for s in server.spendings if s.outcome == "accepted")
        result.accepted = len(server.accepted)
        result.spent_twice = sum(n - 1 for n in taken.values() if n > 1) if self._vendor.rotates else 0
        answers: dict[str, list[str]] = {}
        for file in self._folder.glob("*.trace"):
            events = [json.loads(line) for line in file.read_bytes().splitlines()]
            for event, following in pairwise([*events, {"event": "ready"}]):
                result.events[event["event"]] += 1
                if event["event"] == "answer":
                    answers.setdefault(json.loads(event["body"]).get("refresh_token", ""), []).append(
                        following["event"]
                    )
                if event.get("window_s") is not None:
                    result.windows_us.append(event["window_s"] * 1e6)
                    result.durables_us.append(event["durable_s"] * 1e6)
        back = {s.token: s.outcome for s in server.spendings if s.outcome in ("replayed", "reused")}
        # For every token that was sent again: did its response reach a process, and was that process killed next?
        for family in server.families:
            for token, successor in pairwise([*family.rotated, family.current]):
                if token not in back:
                    continue
                # "ready" is the first event of a process: the one that had the response was killed.
                then = answers.get(successor, [])
                fell = "after the response, before the journal" if "ready" in then else "response on its way"
                forgiven = back[token] == "reused"
                (result.forgiven if forgiven else result.lost)[fell] += 1
                if successor in self._journaled:
                    result.unexplained.append("a token was sent again although its successor was in the journal")
                if len(then) - then.count("ready") > forgiven:
                    result.unexplained.append(f"a token was sent again although its successor had arrived: {then}")
        refused = result.events["login"] + result.events["outside refused"]
        if not self._vendor.rotates and refused:
            result.unexplained.append(f"a valid login was refused {refused} times")
        if (gone := sum(result.lost.values()) + sum(result.forgiven.values())) > result.kills:
            result.unexplained.append(f"{gone} responses lost in {result.kills} kills")


def report(result: Result) -> Sequence[str]:
    lines = [
        f"{result.accepted} refreshes, {result.kills} kills, {result.seconds:.0f} s",
        f"refresh tokens spent twice: {result.spent_twice}",
        f"logins lost: {sum(result.lost.values())} {dict(result.lost)}",
        f"responses lost and repeated: {sum(result.forgiven.values())} {dict(result.forgiven)}",
        f"events: {dict(sorted(result.events.items()))}",
    ]
    for name, values in (
        ("response to journal (survives a kill)", result.windows_us),
        ("response to disk (survives a power cut)", result.durables_us),
    ):
        if len(values) > 1:
            cut = statistics.quantiles(values, n=100)
            lines.append(f"{name}: median {cut[49]:.0f} µs, 99% {cut[98]:.0f} µs, most {max(values):.0f} µs")
    return [*lines, *(f"UNEXPLAINED: {line}" for line in result.unexplained)]


async def soak(folder: Path, *, refreshes: int, limit_s: float, **more: object) -> Result:
    """Run a soak in ``folder``."""
    return await Soak(folder, **more).run(refreshes, limit_s)  # type: ignore[arg-type]  # Soak's own keywords
