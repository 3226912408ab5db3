"""The program in processes that need not import it anew: forked from one that has, once for a whole test run.

A cold start takes most of a second of computing, a fork a few hundredths.
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

#: What commands and servers import at once or later; the plugins that are installed come on top.
_PRELOADED = (
    "aiohttp httpx_aiohttp oauthlib.oauth2 filelock hypercorn.asyncio hypercorn.config uvloop prometheus_client"
    " proxy_core.cli proxy_core.cli.serve proxy_core.cli.login proxy_core.cli.credentials"
    " proxy_core.cli.credentials_files proxy_core.cli.credentials_try proxy_core.cli.config proxy_core.cli.doctor"
    " proxy_core.cli.reach proxy_core.runtime.start proxy_core.network.fetch proxy_core.state.sqlite"
    " proxy_core.testing.example_oauth"
).split()


class Typing:
    """The writing end of a process's standard input, for the little that somebody types."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class WarmProcess:
    """A running process, in the shape of asyncio's."""

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
    """Start ``proxy-core`` with these arguments, in this folder, with this environment and no other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, *(point.module for point in entry_points(group="proxy_core.plugins"))])
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    given, told = Connection(theirs_in, writable=False), Connection(theirs_out, readable=False)
    process = context.Process(target=_main, args=(given, told, str(folder), tuple(arguments), dict(environ)))
    try:
        await asyncio.to_thread(process.start)  # the first time, the other process imports meanwhile
    finally:
        given.close()
        told.close()
    return WarmProcess(process, Typing(ours_in), await _reader(ours_out))


async def _reader(descriptor: int) -> asyncio.StreamReader:
    """Closes itself when every writer has."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


def _main(given: Connection, told: Connection, folder: str, arguments: Sequence[str], environ: dict[str, str]) -> None:
    """The program, as if the executable had been started."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for descriptor, end in ((0, given), (1, told), (2, told)):
        os.dup2(end.fileno(), descriptor)
    given.close()
    told.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.path[:0] = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["proxy-core", *arguments]
    sys.modules["__main__"] = ModuleType("__main__")  # which workers would import, and is the test runner's
    # Whoever starts the tests in the background has them, and all that they start, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from proxy_core.cli import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
