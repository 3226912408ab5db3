"""What a request costs as the configuration grows, how long a start takes, and what a large body does to others."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from proxy_plugin_devkit.bench.measure import compare
from proxy_plugin_devkit.bench.systems import (
    USUAL_PLUGINS,
    Running,
    System,
    bench_key,
    drive,
    proxy_core,
    running,
)

_LARGE_BYTES = 20 * 1024 * 1024
#: What every program on this stack imports, in one process.
_STACK = "import starlette.applications, hypercorn.asyncio, hypercorn.config, httpx, aiohttp, pydantic_settings, pluggy"


def _credentials(count: int) -> System:
    keys = {f"BENCH_API_KEY_{number}": bench_key(number) for number in range(2, count + 1)}
    return proxy_core(f"{count} credentials", environment=keys)


def _models(count: int) -> System:
    names = (f'[models."model-{number}"]\ndeployments = ["bench/small"]\n' for number in range(count))
    return proxy_core(f"{count} models", settings="".join(names))


def _providers(count: int) -> System:
    others: dict[str, str] = {}
    for number in range(1, count):
        others |= {f"OTHER{number}_API_BASE": "http://127.0.0.1:9/v1", f"OTHER{number}_API_KEY": bench_key(number)}
    return proxy_core(f"{count} providers", environment=others)


#: Kind of growth -> the small and the large configuration.
GROWTH: Mapping[str, Callable[[], tuple[System, System]]] = {
    "credentials": lambda: (_credentials(1), _credentials(1000)),
    "models": lambda: (_models(10), _models(5000)),
    "providers": lambda: (_providers(1), _providers(200)),
}


def growth(upstream_port: int, *, turns: int, seconds: float) -> Mapping[str, float]:
    """Kind -> CPU per request in the large configuration, divided by that in the small one."""

    def load(system: Running, seconds: float) -> Mapping[str, float]:
        return {"cpu": system.cpu_us(system.load(kind="plain", seconds=seconds))[1]}

    found = {}
    for kind, make in GROWTH.items():
        small, large = make()
        _, ratios = compare([small, large], upstream_port, turns=turns, seconds=seconds, loads=[load])
        found[kind] = ratios["cpu"][large.name]
    return found


def start_times(upstream_port: int, runs: int) -> Mapping[str, float]:
    """Seconds until the first 200, also with 200 providers; CPU seconds of the imports alone; megabytes when idle."""
    usual = f"[plugins]\nallowed = {list(USUAL_PLUGINS)}\n"
    systems = {"ready s": proxy_core(settings=usual), "200 providers s": _providers(200), "1 provider s": _providers(1)}
    found: dict[str, list[float]] = {name: [] for name in (*systems, "imports CPU s", "idle MB")}
    for _ in range(runs):
        found["imports CPU s"].append(_cpu_s(_STACK) - _cpu_s("pass"))
        for name, system in systems.items():
            with running(system, upstream_port) as started:
                found[name].append(started.cold_start_s)
                if name == "ready s":
                    time.sleep(1.5)
                    found["idle MB"].append(started.resident_mb())
    return {name: statistics.median(values) for name, values in found.items()}


def _cpu_s(code: str) -> float:
    program = f"{code}\nimport time\nprint(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)


def delay_by_large_body(upstream_port: int, runs: int) -> Mapping[str, float]:
    """Milliseconds by which the slowest small request takes longer while bodies of 20 MB pass through.

    The small ones are for ``/healthz``: the fake upstream would delay others while it reads a large body.
    """
    found = {}
    with running(proxy_core(), upstream_port, pinned=False) as started:
        alone = drive(started.load(kind="health", connections=1, seconds=2.0))["max_ms"]
        for name, size in (("request", {"padding": _LARGE_BYTES}), ("response", {"answer": _LARGE_BYTES})):
            large = started.load(kind="plain", connections=1, requests=runs, **size)
            sending = threading.Thread(target=drive, args=(large,))
            sending.start()
            slowest = 0.0
            while sending.is_alive():
                slowest = max(slowest, drive(started.load(kind="health", connections=1, seconds=0.3))["max_ms"])
            found[name] = max(0.0, slowest - alone)
    return found


def two_workers(upstream_port: int, seconds: float) -> float:
    """Throughput of two workers on all cores, divided by that of one."""
    rates = []
    for workers in ("1", "2"):
        with running(proxy_core(f"{workers} workers", "--workers", workers), upstream_port, pinned=False) as started:
            drive(started.load(kind="plain", seconds=0.5))
            rates.append(drive(started.load(kind="plain", seconds=seconds))["per_s"])
    return rates[1] / rates[0]
