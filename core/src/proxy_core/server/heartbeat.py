"""Whether the event loop of a worker still runs: it writes to a pipe at intervals, and its parent reads that.

A worker that hangs cannot say where. The interpreter's fault handler can, whatever the interpreter is doing, and writes
to the same pipe. It names files, lines and functions, and no values.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from msgspec import Struct

#: Well below any limit that a supervisor sets, and rare enough to cost nothing.
_MAX_INTERVAL_S, _PER_LIMIT = 5.0, 4
_BEAT = b"."
_ASK = signal.SIGUSR2
#: How long a traceback may take, and how long a pause ends it.
_ANSWER_S, _PAUSE_S = 2.0, 0.3
_READ_BYTES, _MAX_BYTES = 4096, 64 * 1024


def beat(pipe: Connection, limit_s: float) -> None:
    """Let the running event loop, for as long as it runs, tell the parent that it does."""
    loop, interval_s = asyncio.get_running_loop(), min(_MAX_INTERVAL_S, limit_s / _PER_LIMIT)
    os.set_blocking(pipe.fileno(), False)
    faulthandler.register(_ASK, file=pipe.fileno(), all_threads=True)

    def on_time() -> None:
        with suppress(OSError):  # the parent has ended, or does not read
            os.write(pipe.fileno(), _BEAT)
        loop.call_later(interval_s, on_time)

    on_time()


class Heartbeat(Struct, eq=False):
    """One worker's, as its parent reads it. Until the first beat, the worker is starting."""

    pipe: Connection
    heard_at: float | None = None

    def silent_s(self, now: float) -> float:
        """For how long there has been no beat."""
        if self.heard_at is None or self.pipe.poll():
            self.heard_at = now if self._read() else self.heard_at
        return now - (now if self.heard_at is None else self.heard_at)

    def where(self, pid: int) -> str:
        """The tracebacks of all threads of a worker that hangs; empty if it is stopped altogether."""
        told, ends = b"", time.monotonic() + _ANSWER_S
        os.kill(pid, _ASK)
        while len(told) < _MAX_BYTES and self.pipe.poll(_PAUSE_S if told else max(0.0, ends - time.monotonic())):
            part = self._read()
            if not part:
                break
            told += part
        return told.decode(errors="replace").strip(_BEAT.decode() + "\n")

    def _read(self) -> bytes:
        return os.read(self.pipe.fileno(), _READ_BYTES) if self.pipe.poll() else b""
