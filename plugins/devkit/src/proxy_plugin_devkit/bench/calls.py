"""How many calls a system makes per plain request and per relayed chunk: exact, whatever else the machine does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from proxy_plugin_devkit.bench.systems import Running, System, drive, running, script
from proxy_plugin_devkit.bench.upstream import CHUNKS

#: Chunks must arrive one by one, or several would be relayed at once.
_GAP_S = 0.02
_REQUESTS, _STREAMS = 200, 5


@dataclass(frozen=True, slots=True)
class Calls:
    """Of Python and C functions."""

    per_request: float
    per_chunk: float


def count_calls(system: System, upstream_port: int) -> Calls:
    with TemporaryDirectory() as folder:
        file = Path(folder, "calls")
        with running(_counted(system, file), upstream_port) as started:
            drive(started.load(kind="plain", requests=50, connections=1))
            drive(started.load(kind="paced", gap_s=_GAP_S, connections=1))
            time.sleep(1.5)  # whatever a system does after its first requests
            before = _read(started, file)
            drive(started.load(kind="plain", requests=_REQUESTS, connections=1))
            between = _read(started, file)
            drive(started.load(kind="paced", gap_s=_GAP_S, connections=_STREAMS))
            after = _read(started, file)
    per_request = (between - before) / _REQUESTS
    return Calls(per_request, ((after - between) / _STREAMS - per_request) / CHUNKS)


def _counted(system: System, file: Path) -> System:
    """The same system, run by ``counted.py``, and without a file of state, whose upkeep is not a request's."""

    def command(port: int, up: int) -> Sequence[str]:
        program = [part for part in system.command(port, up) if part not in script("")[:2]]
        return [*script("counted"), str(file), *program]

    def environment(up: int) -> Mapping[str, str]:
        return {**system.environment(up), "PROXY_STATE__URL": "memory:"}

    return replace(system, command=command, environment=environment)


def _read(started: Running, file: Path) -> int:
    file.unlink(missing_ok=True)
    os.kill(started.process.pid, signal.SIGUSR1)
    deadline = time.perf_counter() + 10
    while not file.exists():
        drive(started.load(kind="plain", requests=1, connections=1))  # the handler runs when the program does something
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{started.system.name} does not write its count")
    return int(file.read_text())
