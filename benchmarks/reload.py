"""``python -m benchmarks.reload``: 100 reloads, half of them with broken files, while 32 clients send requests.

No request may fail, every broken file must be refused, memory must stay flat, and no socket or thread may be left
behind. Otherwise exits with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from proxy_plugin_devkit.bench.systems import Running, System, drive, proxy_core, running, upstream

ADMIN = "bench-admin-key"
_GROWTH = 1.10
#: Reloads before the first memory sample; by then, imports are done and caches are filled.
_WARM = 10
#: Tolerance, because the program's own threads come and go.
_SPARE = 4


@dataclass(frozen=True, slots=True)
class Look:
    """The program's resources; ``sockets`` counts those to the upstream."""

    mb: float
    sockets: int
    threads: int


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, upstream() as upstream_port:
        file = Path(folder, "proxy-core.toml")
        _write(file, 0)
        with running(_system(file), upstream_port) as started, ThreadPoolExecutor(2) as threads:
            drive(started.load(kind="burst", seconds=2.0))
            seconds = options.reloads * options.every_s * 1.5
            asking: list[Future[dict[str, float]]] = [
                threads.submit(drive, started.load(kind=kind, connections=16, seconds=seconds))
                for kind in ("plain", "burst")
            ]
            wrong, took, looks = _reload(started, upstream_port, file, options.reloads, options.every_s)
            results = [asked.result() for asked in asking]  # a request that fails raises there
            time.sleep(2.0)
            looks.append(_look(started, upstream_port))
    first, last, most = looks[0], looks[-1], max(look.mb for look in looks)
    promises = {
        f"0 of {sum(r['count'] for r in results):.0f} requests failed": True,
        f"{options.reloads} reloads, {wrong} with the wrong result": wrong == 0,
        f"memory flat: {first.mb:.0f} MB, then at most {most:.0f} MB": most <= _GROWTH * first.mb,
        f"connections to the upstream: {first.sockets}, then {last.sockets} for 32 clients": last.sockets <= 32,
        f"threads left: {first.threads} then {last.threads}": last.threads <= first.threads + _SPARE,
    }
    print(f"a successful reload: p50 {statistics.median(took) * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms")
    print(f"clients: p99 {max(r['p99_ms'] for r in results):.0f} ms, at {sum(r['per_s'] for r in results):.0f} /s")
    for what, holds in promises.items():
        print(f"{'ok    ' if holds else 'MISSED'}  {what}")
    return 0 if all(promises.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload", description=__doc__)
    parser.add_argument("--reloads", type=int, default=100, help="number of reloads, half of them with a broken file")
    parser.add_argument("--every-s", type=float, default=0.3, help="seconds between two reloads")
    return parser.parse_args()


def _system(file: Path) -> System:
    base = proxy_core()
    return replace(
        base,
        command=lambda port, up: [*base.command(port, up), "--config", str(file)],
        environment=lambda up: {**base.environment(up), "PROXY_ADMIN__KEY": ADMIN},
    )


def _write(file: Path, number: int) -> None:
    """Write a changed file; every second one is invalid: in turn its TOML, a value, a table name or a selector."""
    good = f"[timeouts]\nidle_s = {100 + number}\n[models]\nbest{number} = ['bench/small']\n"
    wrong = ("[timeouts\n", "[timeouts]\nidle_s = -1\n", "[nonsense]\n", "[routing]\nselector = 'nope'\n")
    file.write_text(wrong[number // 2 % len(wrong)] if number % 2 else good)


def _reload(
    started: Running, upstream_port: int, file: Path, reloads: int, every_s: float
) -> tuple[int, list[float], list[Look]]:
    wrong, took, looks = 0, list[float](), list[Look]()
    for number in range(reloads):
        _write(file, number)
        began = time.perf_counter()
        done = _ask(started.port)
        if not number % 2:
            took.append(time.perf_counter() - began)
        wrong += done is not (number % 2 == 0)
        if number >= _WARM and number % _WARM == 0:
            looks.append(_look(started, upstream_port))
            print(f"{number:5} reloads  {looks[-1]}", flush=True)
        time.sleep(every_s)
    return wrong, took, looks or [_look(started, upstream_port)]


def _ask(port: int) -> bool:
    """Request a reload; returns whether the settings were replaced."""
    url = f"http://127.0.0.1:{port}/admin/reload"
    request = urllib.request.Request(url, method="POST", headers={"authorization": f"Bearer {ADMIN}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return all(process["reloaded"] for process in json.load(response)["processes"])
    except urllib.error.HTTPError as refused:
        if refused.code != 409:
            raise
        return False


def _look(started: Running, upstream_port: int) -> Look:
    folder = Path(f"/proc/{started.process.pid}")
    own = {os.readlink(fd) for fd in (folder / "fd").iterdir() if fd.is_symlink()}
    table = [line.split() for line in (folder / "net/tcp").read_text().splitlines()[1:]]
    peer = f":{upstream_port:04X}"
    sockets = sum(row[2].endswith(peer) and f"socket:[{row[9]}]" in own for row in table)
    return Look(round(started.resident_mb(), 1), sockets, len(list((folder / "task").iterdir())))


if __name__ == "__main__":
    sys.exit(main())
