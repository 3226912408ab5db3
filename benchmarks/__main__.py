"""``python -m benchmarks``: measure, print a table with ratios, fail if a bar is missed."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import judge, print_report
from benchmarks.systems import KEY, Running, System, drive, litellm, proxy_core, relay, running, upstream
from benchmarks.upstream import CHUNKS

Figures = dict[str, dict[str, list[float]]]


def main() -> int:
    options = _options()
    systems = [relay("httpx"), relay("aiohttp"), proxy_core(), proxy_core(records=True)]
    if options.litellm_python:
        systems.append(litellm(options.litellm_python))
    figures: Figures = defaultdict(lambda: defaultdict(list))
    _import_time(figures, options.runs)
    with upstream() as upstream_port:
        for number in range(options.runs):
            print(f"run {number + 1} of {options.runs}", file=sys.stderr)
            for system in systems:
                _measure(system, upstream_port, figures, options.seconds)
    medians = {name: {k: statistics.median(v) for k, v in rows.items()} for name, rows in figures.items()}
    if options.json:
        Path(options.json).write_text(json.dumps({"medians": medians, "runs": figures}, indent=1))
    print_report(medians)
    return judge(medians)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="runs of everything; medians are shown")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    parser.add_argument("--litellm-python", metavar="PATH", help="an interpreter that has litellm[proxy]")
    parser.add_argument("--json", metavar="FILE", help="write every figure")
    return parser.parse_args()


def _measure(system: System, upstream_port: int, figures: Figures, seconds: float) -> None:
    """All measures of one system in one start, so that they share a moment of the machine."""
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
    """Added by the system at concurrency 1, against the upstream alone a moment before."""
    from benchmarks.load import Load

    direct = drive(Load(port=upstream_port, key=KEY, model="small", kind="plain", connections=1, seconds=1.0))
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


if __name__ == "__main__":
    sys.exit(main())
