"""Several processes on one socket. Imported only where there are several."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess

from msgspec.structs import replace

from proxy_core.interfaces.servers import GRACE_S
from proxy_core.server.serve import WorkerSpec, hear_reloads, hold_reloads

log = logging.getLogger("proxy_core.serve")

_RESTART_S = 1.0


Worker = Callable[[WorkerSpec, socket.socket], None]


def supervise(worker: Worker, spec: WorkerSpec, sock: socket.socket, count: int, shutdown_grace_s: float) -> None:
    """Run ``count`` worker processes on one socket until a signal; restart those that die."""
    # Otherwise, a new interpreter looks for modules in the working directory first, and runs what it finds there.
    os.putenv("PYTHONSAFEPATH", "1")
    context = multiprocessing.get_context("spawn")
    stopping = False
    workers: dict[int, BaseProcess] = {}

    def on_signal(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    _pass_reloads_on(workers)
    while not stopping:
        for index, dead in [(n, w) for n, w in workers.items() if not w.is_alive()]:
            log.error("worker %s ended with exit code %s; starting another", dead.pid, dead.exitcode)
            del workers[index]
            time.sleep(_RESTART_S)
        for index in range(1, count + 1):
            if index not in workers and not stopping:
                arguments = (replace(spec, number=index), sock)
                workers[index] = context.Process(target=worker, args=arguments, name=f"proxy-core-worker-{index}")
                hold_reloads()  # inherited by the worker, which unblocks it when it can handle one
                workers[index].start()
        hear_reloads()
        multiprocessing.connection.wait([w.sentinel for w in workers.values()], timeout=0.5)
    _end(list(workers.values()), shutdown_grace_s + 2 * GRACE_S)


def stop_with_parent(stop: asyncio.Event) -> None:
    """Set ``stop`` in a worker when its parent has ended without telling it, as after SIGKILL."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    assert parent is not None

    def on_end() -> None:
        loop.remove_reader(parent.sentinel)
        if not stop.is_set():
            log.error("the process that started this worker has ended; stopping")
        stop.set()

    loop.add_reader(parent.sentinel, on_end)  # a pipe whose other end only the parent has


def _pass_reloads_on(workers: Mapping[int, BaseProcess]) -> None:
    """Pass SIGHUP on to every worker; one that starts later reads the new settings anyway."""

    def on_signal(*_: object) -> None:
        for worker in workers.values():
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGHUP)

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
