"""The programs of others that these tests drive, in the folders that ``PROXY_CORE_AGENTS`` names, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDERS = [str(Path(name).absolute()) for name in os.environ.get("PROXY_CORE_AGENTS", "").split(os.pathsep) if name]
#: What is not for the proxy ends here; not every program makes an exception for this machine.
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
_LIMIT_S = 60


def found(name: str) -> str | None:
    """The path of a program."""
    return shutil.which(name, path=os.pathsep.join(FOLDERS)) if FOLDERS else None


async def output_of(command: Sequence[str], *, home: Path, cwd: Path, variables: Mapping[str, str]) -> str:
    """Everything that a program prints, run with a home folder of its own and without any input."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={
            "PATH": os.pathsep.join([*FOLDERS, os.environ["PATH"]]),
            "HOME": str(home),
            "NO_COLOR": "1",
            "CI": "1",
            **variables,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            await process.wait()
    return output.decode(errors="replace")
