"""Measure one system after the other, several times, and take the medians."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from proxy_plugin_devkit.bench.load import Load
from proxy_plugin_devkit.bench.report import check_targets, print_report
from proxy_plugin_devkit.bench.systems import (
    KEY,
    Running,
    System,
    drive,
    litellm,
    proxy_core,
    relay,
    running,
    upstream,
)
from proxy_plugin_devkit.bench.upstream import CHUNKS

Figures = dict[str, dict[str, list[float]]]


def measure(*, runs: int, seconds: float, litellm_python: str | None, json_file: Path | None) -> int:
    """Print a report. Returns 1 if a target is missed."""
    systems = [relay("httpx"), relay("aiohttp"), proxy_core(), proxy_core(records=True)]
    if litellm_python:
        systems.append(litellm(litellm_python))
    figures: Figures = defaultdict(lambda: defaultdict(list))
    _import_time(figures, runs)
    with upstream() as upstream_port:
        for number in range(runs):
            print(f"run {number + 1} of {runs}", file=sys.stderr)
            for system in systems:
                _measure(system, upstream_port, figures, seconds)
    medians = {name: {k: statistics.median(v) for k, v in rows.items()} for name, rows in figures.items()}
    if json_file is not None:
        json_file.write_text(json.dumps({"medians": medians, "runs": figures}, indent=1))
    print_report(medians)
    return check_targets(medians)


def _measure(system: System, upstream_port: int, figures: Figures, seconds: float) -> None:
    """Take all measurements of one system in one go, so that the machine is in the same state for all of them."""
    rows = figures[system.name]
    with ExitStack() as stack:
        started = stack.enter_context(running(system, upstream_port))
        rows["cold start s"].append(started.cold_start_s)
        time.sleep(1.0)
        rows["idle MB"].append(started.resident_mb())
        drive(started.load(kind="plain", seconds=0.5))
        rows["plain /s"].append(drive(started.load(kind="plain", seconds=seconds))["per_s"])
        rows["streams /s"].append(drive(started.load(kind="burst", seconds=seconds))["per_s"])
        rows["chunk us"].append(_cpu_per_chunk(started))
        _latency(started, upstream_port, rows)


def _cpu_per_chunk(started: Running, streams: int = 200) -> float:
    before = started.cpu_s()
    drive(started.load(kind="paced", connections=streams))
    return (started.cpu_s() - before) / (streams * CHUNKS) * 1e6


def _latency(started: Running, upstream_port: int, rows: dict[str, list[float]]) -> None:
    """Latency that the system adds at concurrency 1, compared with the bare upstream measured just before."""
    alone = Load(port=upstream_port, key=KEY, model="small", kind="plain", chunks=CHUNKS, connections=1, seconds=1.0)
    direct = drive(alone)
    through = drive(started.load(kind="plain", connections=1, seconds=2.0))
    rows["added p50 ms"].append(through["p50_ms"] - direct["p50_ms"])
    rows["added p99 ms"].append(through["p99_ms"] - direct["p99_ms"])


def _import_time(figures: Figures, runs: int) -> None:
    for _ in range(runs + 2):
        bare = _timed("pass")
        figures["proxy-core"]["import ms"].append((_timed("import proxy_core") - bare) * 1000)


def _timed(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began
