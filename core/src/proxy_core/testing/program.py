"""The real program in a process of its own, with a home of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("proxy-core")
SCRIPT, MODULE = (str(PROGRAM),), (sys.executable, "-m", "proxy_core")
_START_S = 20.0
_END_S = 20.0


@dataclass(slots=True)
class Program:
    """A running ``proxy-core serve`` and what it has printed so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Where it listens, without ``/v1``."""
        found = re.search(r"listens on (\S+)", self.output)
        assert found is not None, self.output
        return found[1]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment in which nothing of the user's own is found."""
    folders = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data"}
    return {"PATH": os.environ["PATH"], **folders, **variables}


@asynccontextmanager
async def serving(
    home: Path, *arguments: str, command: tuple[str, ...] = SCRIPT, **variables: str
) -> AsyncIterator[Program]:
    """Run ``proxy-core serve --port 0 ...`` until the block ends."""
    program = Program(await _start(home, (*command, "serve", "--port", "0", *arguments), variables))
    reading = asyncio.create_task(_collect(program))
    try:
        async with asyncio.timeout(_START_S):
            while "providers:" not in program.output:
                assert program.process.returncode is None, program.output
                await asyncio.sleep(0.01)
        yield program
    finally:
        if program.process.returncode is None:
            program.process.terminate()
        await asyncio.wait_for(program.process.wait(), _END_S)
        await reading


async def run(home: Path, *arguments: str, command: tuple[str, ...] = SCRIPT, **variables: str) -> tuple[int, str]:
    """Run a command to its end: its exit code and everything it printed."""
    process = await _start(home, (*command, *arguments), variables)
    output, _ = await asyncio.wait_for(process.communicate(), _START_S + _END_S)
    return process.returncode or 0, output.decode()


async def _start(home: Path, command: tuple[str, ...], variables: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=home,
        env=environment(home, **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _collect(program: Program) -> None:
    assert program.process.stdout is not None
    async for line in program.process.stdout:
        program.lines.append(line.decode())
