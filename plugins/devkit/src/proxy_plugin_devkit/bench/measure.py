"""Measures systems side by side: each gets load in turns, and only ratios to the relay within the same turn count.

So it does not matter if the machine's speed drifts. The systems share one core; the load and the upstream have another.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from proxy_plugin_devkit.bench.systems import Running, System, running
from proxy_plugin_devkit.bench.upstream import CHUNKS

#: Measure -> its value, by system.
Figures = Mapping[str, Mapping[str, float]]

_STREAMS = 200


def _plain(system: Running, seconds: float) -> Mapping[str, float]:
    result, cpu_us = system.cpu_us(system.load(kind="plain", seconds=seconds))
    return {"plain /s": result["per_s"], "plain CPU us": cpu_us}


def _streams(system: Running, seconds: float) -> Mapping[str, float]:
    result, cpu_us = system.cpu_us(system.load(kind="burst", seconds=seconds))
    return {"streams /s": result["per_s"], "stream CPU us": cpu_us}


def _chunks(system: Running, seconds: float) -> Mapping[str, float]:
    return {"chunk CPU us": system.cpu_us(system.load(kind="paced", connections=_STREAMS))[1] / CHUNKS}


def _alone(system: Running, seconds: float) -> Mapping[str, float]:
    result = system.cpu_us(system.load(kind="plain", seconds=seconds, connections=1))[0]
    return {"p50 ms": result["p50_ms"], "p99 ms": result["p99_ms"]}


LOADS: Sequence[Callable[[Running, float], Mapping[str, float]]] = (_plain, _streams, _chunks, _alone)


def compare(
    systems: Sequence[System],
    upstream_port: int,
    *,
    turns: int,
    seconds: float,
    loads: Sequence[Callable[[Running, float], Mapping[str, float]]] = LOADS,
) -> tuple[Figures, Figures]:
    """Medians over the turns, and medians of the ratios to the first system within a turn: by measure, by system."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        started = [stack.enter_context(running(system, upstream_port)) for system in systems]
        for load in loads:
            for turn in range(turns + 1):
                print(f"{load.__name__[1:]}: turn {turn} of {turns}", file=sys.stderr)
                for system in started if turn % 2 else reversed(started):
                    found = load(system, seconds)
                    if turn:  # the first one is a warm-up
                        for measure, value in found.items():
                            values[measure][system.system.name].append(value)
    first = systems[0].name
    medians = {m: {name: statistics.median(row) for name, row in rows.items()} for m, rows in values.items()}
    ratios = {m: {name: _ratio(row, rows[first]) for name, row in rows.items()} for m, rows in values.items()}
    return medians, ratios


def _ratio(row: Sequence[float], ones: Sequence[float]) -> float:
    return statistics.median(value / one for value, one in zip(row, ones, strict=True))
