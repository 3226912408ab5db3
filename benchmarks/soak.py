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

from benchmarks.systems import Running, System, drive, proxy_core, running, upstream

#: A sink that takes as long for a batch as a bad disk; it blocks a thread, as a file does.
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
#: Buffers fill first; what grows after this share of the requests is a leak.
_WARM_UP = 0.3
_GROWTH = 1.1


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, upstream() as upstream_port:
        with running(proxy_core(), upstream_port) as started:
            without = drive(started.load(kind="burst", seconds=_ROUND_S))
        with running(_slow(Path(folder)), upstream_port) as started:
            rows = _soak(started, options.requests, Path(folder))
    p99 = statistics.median(row["p99_ms"] for row in rows)
    warm = [row["mb"] for row in rows if row["requests"] >= _WARM_UP * options.requests]
    lost = int(rows[-1]["lost"])
    print(f"\nwithout records: p99 {without['p99_ms']:.0f} ms, {without['per_s']:.0f}/s")
    print(f"with records on a slow disk: p99 {p99:.0f} ms, {lost} records dropped, {warm[0]:.0f} to {max(warm):.0f} MB")
    flat, told, quick = max(warm) <= _GROWTH * warm[0], lost > 0, p99 <= 2 * without["p99_ms"]
    print(f"memory flat: {flat}; drops counted: {told}; clients not waiting: {quick}")
    return 0 if flat and told and quick else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="streams of 100 chunks, all together")
    return parser.parse_args()


def _slow(folder: Path) -> System:
    """proxy-core with the plugin above, as an installer would have put it there, and a log to read."""
    info = folder / "site" / "slow_disk-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "site" / "slow_disk.py").write_text(SLOW_DISK)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow_disk\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[proxy_core.plugins]\nslow_disk = slow_disk\n")
    base = proxy_core(records=True)
    more = {"PYTHONPATH": str(folder / "site"), "PROXY_LOG__FOLDER": str(folder / "logs")}
    return replace(base, environment=lambda up: {**base.environment(up), **more})


def _soak(started: Running, requests: int, folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    done, began = 0.0, time.perf_counter()
    print(f"{'seconds':>8}{'requests':>10}{'per s':>8}{'p99 ms':>8}{'MB':>8}{'dropped':>9}")
    while done < requests:
        result = drive(started.load(kind="burst", seconds=_ROUND_S))
        done += result["count"]
        row = {"requests": done, "mb": started.resident_mb(), "lost": _lost(folder), **result}
        rows.append(row)
        seconds = time.perf_counter() - began
        print(
            f"{seconds:8.0f}{done:10.0f}{row['per_s']:8.0f}{row['p99_ms']:8.0f}{row['mb']:8.0f}{row['lost']:9.0f}",
            flush=True,
        )
    return rows


def _lost(folder: Path) -> float:
    """What the program itself says it dropped."""
    return float(sum(int(n) for file in (folder / "logs").glob("*.log*") for n in _LOST.findall(file.read_text())))


if __name__ == "__main__":
    sys.exit(main())
