"""Several processes on one socket. Imported only where there are several."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from msgspec import Struct
from msgspec.structs import replace

from proxy_core.interfaces.servers import GRACE_S
from proxy_core.server.heartbeat import Heartbeat, beat
from proxy_core.server.serve import WorkerSpec, hear_reloads, hold_reloads
from proxy_core.server.supervisor import Supervisor

log = logging.getLogger("proxy_core.serve")

_RESTART_S = 1.0
_LOOK_S = 0.5
#: A worker whose event loop has not run for this long is replaced, unless the supervisor sets a limit of its own.
_HANGS_S = 60.0

Worker = Callable[[WorkerSpec, socket.socket, Connection], None]


class _Running(Struct, eq=False):
    process: BaseProcess
    heartbeat: Heartbeat


def _hang_limit_s(supervisor: Supervisor) -> float:
    return supervisor.watchdog_s or _HANGS_S


def supervise(
    worker: Worker,
    spec: WorkerSpec,
    sock: socket.socket,
    count: int,
    shutdown_grace_s: float,
    supervisor: Supervisor,
) -> None:
    """Run ``count`` worker processes on one socket until a signal; replace those that die or hang."""
    # Otherwise, a new interpreter looks for modules in the working directory first, and runs what it finds there.
    os.putenv("PYTHONSAFEPATH", "1")
    stopping = False
    workers: dict[int, _Running] = {}

    def on_signal(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    _pass_reloads_on(workers)
    looked_at, limit_s = time.monotonic(), _hang_limit_s(supervisor)
    while not stopping:
        supervisor.tell("WATCHDOG=1")
        looked_before, looked_at = looked_at, time.monotonic()
        if looked_at - looked_before > limit_s / 2:  # everything stood still, this process included
            _begin_anew(workers, looked_at)
        _end_hanging(workers, looked_at, limit_s)
        _drop_dead(workers)
        for index in range(1, count + 1):
            if index not in workers and not stopping:
                workers[index] = _started(worker, replace(spec, number=index), sock)
        hear_reloads()
        wait([w.process.sentinel for w in workers.values()], timeout=min(_LOOK_S, limit_s / 4))
    supervisor.tell("STOPPING=1")
    _end([w.process for w in workers.values()], shutdown_grace_s + 2 * GRACE_S)


def _started(worker: Worker, spec: WorkerSpec, sock: socket.socket) -> _Running:
    context = multiprocessing.get_context("spawn")
    pipe, end_of_worker = context.Pipe(duplex=False)
    arguments = (spec, sock, end_of_worker)
    process = context.Process(target=worker, args=arguments, name=f"proxy-core-worker-{spec.number}")
    hold_reloads()  # inherited by the worker, which unblocks it when it can handle one
    process.start()
    end_of_worker.close()
    return _Running(process, Heartbeat(pipe))


def _begin_anew(workers: Mapping[int, _Running], now: float) -> None:
    for running in workers.values():
        if running.heartbeat.heard_at is not None:
            running.heartbeat.heard_at = now


def _end_hanging(workers: Mapping[int, _Running], now: float, limit_s: float) -> None:
    for running in workers.values():
        process, silent_s = running.process, running.heartbeat.silent_s(now)
        if silent_s <= limit_s or process.pid is None or not process.is_alive():
            continue
        stack = running.heartbeat.where(process.pid)
        where = "" if stack else ". It does not say where; it may have been stopped."
        text = "worker %s hangs: its event loop has not run for %.0f s; ending it%s"
        log.error(text, process.pid, silent_s, where, extra={"stack": stack})
        process.kill()
        process.join()


def _drop_dead(workers: dict[int, _Running]) -> None:
    for index, dead in [(n, w) for n, w in workers.items() if not w.process.is_alive()]:
        log.error("worker %s ended with exit code %s; starting another", dead.process.pid, dead.process.exitcode)
        dead.heartbeat.pipe.close()
        del workers[index]
        time.sleep(_RESTART_S)


def follow_parent(pipe: Connection, stop: asyncio.Event, supervisor: Supervisor) -> None:
    """In a worker: let its parent know that it lives, and stop when the parent has ended, as after SIGKILL."""
    beat(pipe, _hang_limit_s(supervisor))
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    assert parent is not None

    def on_end() -> None:
        loop.remove_reader(parent.sentinel)
        if not stop.is_set():
            log.error("the process that started this worker has ended; stopping")
        stop.set()

    loop.add_reader(parent.sentinel, on_end)  # a pipe whose other end only the parent has


def _pass_reloads_on(workers: Mapping[int, _Running]) -> None:
    """Pass SIGHUP on to every worker; one that starts later reads the new settings anyway."""

    def on_signal(*_: object) -> None:
        for process in [running.process for running in workers.values()]:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, on_signal)


def _end(workers: list[BaseProcess], limit_s: float) -> None:
    for process in workers:
        process.terminate()
    deadline = time.monotonic() + limit_s
    for process in workers:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
