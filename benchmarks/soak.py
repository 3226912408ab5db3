"""``python -m benchmarks.soak``: 100,000 streams with request records on and a disk that does not keep up.

Memory must stay flat, records must be dropped and counted, clients must not wait. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from proxy_plugin_devkit.bench.systems import Running, System, drive, proxy_core, running, upstream

#: A sink as slow as a bad disk; it blocks a thread, as writing a file does.
SLOW_DISK = """
import asyncio, time
from proxy_core import LogSink, PluginInfo, hookimpl

PLUGIN = PluginInfo(name="slow_disk", api=1)


@hookimpl
def proxy_log_sinks(ctx):
    async def write(lines):
        await asyncio.to_thread(time.sleep, 1.0)

    return [LogSink(name="slow_disk", write=write)]
"""
_LOST = re.compile(r"(\d+) request records were lost")
_ROUND_S = 5.0
#: Buffers fill first; growth after this share of the requests is a leak.
_WARM_UP = 0.3
_GROWTH = 1.1
#: Relative to the same program on a fast disk; the two take turns on a machine that may be shared.
_SLOWER = 1.5


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as name, upstream() as port:
        folder = Path(name)
        with running(_recording(), port) as quick, running(_slow(folder), port) as slow:
            rows, compared = _soak(slow, quick, options.requests, folder)
    p99, usual = statistics.median(row["p99_ms"] for row in rows), statistics.median(compared)
    warm = [row["mb"] for row in rows if row["requests"] >= _WARM_UP * options.requests]
    promises = {
        f"memory flat: {warm[0]:.0f} to {max(warm):.0f} MB": max(warm) <= _GROWTH * warm[0],
        f"records dropped and counted: {rows[-1]['lost']:.0f}": rows[-1]["lost"] > 0,
        f"clients do not wait: p99 {p99:.0f} ms, on a fast disk {usual:.0f} ms": p99 <= _SLOWER * usual,
    }
    print()
    for what, holds in promises.items():
        print(f"{'ok    ' if holds else 'MISSED'}  {what}")
    return 0 if all(promises.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="total number of streams of 100 chunks")
    return parser.parse_args()


def _recording() -> System:
    return proxy_core("records", "--enable-request-logging")


def _slow(folder: Path) -> System:
    """proxy-core with the plugin above, laid out as if installed, and a log to read."""
    info = folder / "site" / "slow_disk-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "site" / "slow_disk.py").write_text(SLOW_DISK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow_disk\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[proxy_core.plugins]\nslow_disk = slow_disk\n")
    base = _recording()
    more = {"PYTHONPATH": str(folder / "site"), "PROXY_LOG__FOLDER": str(folder / "logs")}
    return replace(base, environment=lambda up: {**base.environment(up), **more})


def _soak(slow: Running, quick: Running, requests: int, folder: Path) -> tuple[list[dict[str, float]], list[float]]:
    """Run rounds of load; every fourth is preceded by one on a fast disk, whose p99 is the reference."""
    rows: list[dict[str, float]] = []
    compared: list[float] = []
    done, began = 0.0, time.perf_counter()
    print(f"{'seconds':>8}{'requests':>10}{'per s':>8}{'p99 ms':>8}{'MB':>8}{'dropped':>9}")
    while done < requests:
        if len(rows) % 4 == 0:
            compared.append(drive(quick.load(kind="burst", seconds=_ROUND_S))["p99_ms"])
        result = drive(slow.load(kind="burst", seconds=_ROUND_S))
        done += result["count"]
        row = {**result, "requests": done, "mb": slow.resident_mb(), "lost": _lost(folder)}
        rows.append(row)
        seconds = time.perf_counter() - began
        print(
            f"{seconds:8.0f}{done:10.0f}{row['per_s']:8.0f}{row['p99_ms']:8.0f}{row['mb']:8.0f}{row['lost']:9.0f}",
            flush=True,
        )
    return rows, compared


def _lost(folder: Path) -> float:
    """The number of records that the program itself reports as lost."""
    return float(sum(int(n) for file in (folder / "logs").glob("*.log*") for n in _LOST.findall(file.read_text())))


if __name__ == "__main__":
    sys.exit(main())
