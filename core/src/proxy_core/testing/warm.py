"""Runs the program in processes forked from one that has imported it, once per test run.

A cold start takes most of a second of CPU time, a fork a few hundredths.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

#: Whether this system can fork.
AVAILABLE = "forkserver" in multiprocessing.get_all_start_methods()

#: Modules that commands and servers import; those of installed plugins are added.
_PRELOADED = (
    "aiohttp oauthlib.oauth2 filelock hypercorn.asyncio hypercorn.config uvloop prometheus_client"
    " proxy_core.cli proxy_core.cli.serve proxy_core.cli.api proxy_core.runtime.start proxy_core.network.fetch"
    " proxy_core.network.exchange proxy_core.state.sqlite"
    " proxy_core.testing.example_oauth"
).split()


class Typing:
    """The writing end of a process's standard input, for small inputs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class WarmProcess:
    """A running process, with the interface of asyncio's."""

    def __init__(self, process: BaseProcess, stdin: Typing, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self.stdin = stdin
        self.stdout = stdout

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            while (code := self.returncode) is None:
                ended.clear()
                await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return code


async def fork(folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> WarmProcess:
    """Start ``proxy-core`` with these arguments, in this folder, with exactly this environment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, *(point.module for point in entry_points(group="proxy_core.plugins"))])
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    typed, output = Connection(theirs_in, writable=False), Connection(theirs_out, readable=False)
    process = context.Process(target=_main, args=(typed, output, str(folder), tuple(arguments), dict(environ)))
    try:
        await asyncio.to_thread(process.start)  # the first time, the other process is importing meanwhile
    finally:
        typed.close()
        output.close()
    return WarmProcess(process, Typing(ours_in), await _reader(ours_out))


async def _reader(descriptor: int) -> asyncio.StreamReader:
    """Closes itself when every writer has."""
    reader = asyncio.StreamReader(limit=2**24)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


def _main(
    typed: Connection, output: Connection, folder: str, arguments: Sequence[str], environ: dict[str, str]
) -> None:
    """The program, as if the executable had been started."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for descriptor, end in ((0, typed), (1, output), (2, output)):
        os.dup2(end.fileno(), descriptor)
    typed.close()
    output.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.path[:0] = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["proxy-core", *arguments]
    sys.modules["__main__"] = ModuleType("__main__")  # which workers would import, but which is that of the test runner
    # Tests that run in the background ignore it, and so would the processes that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from proxy_core.cli import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
