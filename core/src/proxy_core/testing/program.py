"""The real program in its own process, with its own home folder.

If the system can fork, the process is forked from one that has imported everything already. ``command`` starts an
executable instead, for tests of the start itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import proxy_core.testing.warm as warm  # by the package, the name would be looked for in all modules of the kit

PROGRAM = Path(sys.executable).with_name("proxy-core")
SCRIPT, MODULE = (str(PROGRAM),), (sys.executable, "-m", "proxy_core")
Command = tuple[str, ...] | None
_START_S = 60.0
_END_S = 20.0

Process = asyncio.subprocess.Process | warm.WarmProcess


@dataclass(slots=True)
class Program:
    """A running ``proxy-core serve`` and what it has printed so far."""

    process: Process
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Its URL, without ``/v1``."""
        found = re.search(r"listens on (\S+)", self.output)
        assert found is not None, self.output
        return found[1]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment in which nothing of the user's own is found, nor any authority that is trusted.

    Tests use no certificates of public authorities, and reading these would slow down every start by 35 ms.
    """
    folders = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data"}
    return {"PATH": os.environ["PATH"], "SSL_CERT_DIR": str(home), **folders, **variables}


async def start(home: Path, *arguments: str, command: Command = None, **variables: str) -> Process:
    """Start ``proxy-core``; ``stdout`` has its output including errors, and ``stdin`` is for input."""
    environ = environment(home, **variables)
    if warm.AVAILABLE and command is None:
        return await warm.fork(home, arguments, environ)
    return await asyncio.create_subprocess_exec(
        *(command or SCRIPT),
        *arguments,
        cwd=home,
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,  # a line of JSON holds a whole traceback
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=_hear_interrupts if os.name == "posix" else None,
    )


@asynccontextmanager
async def serving(home: Path, *arguments: str, command: Command = None, **variables: str) -> AsyncIterator[Program]:
    """Run ``proxy-core serve --port 0 ...`` until the block ends."""
    process = await start(home, "serve", "--port", "0", *arguments, command=command, **variables)
    _end_typing(process)
    program = Program(process)
    reading = asyncio.create_task(_collect(program))
    try:
        async with asyncio.timeout(_START_S):
            while "providers:" not in program.output:
                assert not reading.done(), program.output
                await asyncio.sleep(0.005)
        yield program
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), _END_S)
        await reading


async def run(
    home: Path, *arguments: str, stdin: str = "", command: Command = None, **variables: str
) -> tuple[int, str]:
    """Run a command to its end with this input; returns its exit code and everything it printed."""
    process = await start(home, *arguments, command=command, **variables)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(stdin.encode())
    _end_typing(process)
    try:
        async with asyncio.timeout(_START_S + _END_S):
            output = await process.stdout.read()
            return await process.wait(), output.decode()
    finally:
        if process.returncode is None:
            process.kill()


def _end_typing(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _hear_interrupts() -> None:
    """Tests that run in the background ignore SIGINT, and so would the processes that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def _collect(program: Program) -> None:
    assert program.process.stdout is not None
    async for line in program.process.stdout:
        program.lines.append(line.decode())
