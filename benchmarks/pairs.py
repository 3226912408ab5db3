"""``python -m benchmarks.pairs``: the cost of a single change, even if the machine's speed drifts by more than that.

Variants of proxy-core run side by side on core 0 and get load in turns of one second each, in alternating order.
For each variant, the median of its ratios to the first variant within the same turn is printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from proxy_plugin_devkit.bench.systems import Running, System, drive, proxy_core, running, upstream

#: Name of a load -> its parameters.
LOADS: Mapping[str, Mapping[str, float | str]] = {
    "plain": {"kind": "plain"},
    "streams": {"kind": "burst"},
    "one at a time": {"kind": "plain", "connections": 1},
}


def variants(program: str | None, keys: int) -> list[System]:
    """The others are compared with the first; ``the same again`` shows how much is chance."""
    plain = proxy_core()
    systems = [
        plain,
        _changed(plain, f"{keys} keys", {f"BENCH_API_KEY_{n}": "sk-" + f"key-{n:04}" * 6 for n in range(2, keys + 1)}),
        _changed(plain, "state in memory", {"PROXY_STATE__URL": "memory:"}),
        _changed(plain, "the same again", {}),
    ]
    if program is not None:
        systems.append(_other(plain, program))
    return systems


def _changed(system: System, name: str, more: Mapping[str, str]) -> System:
    return replace(system, name=name, environment=lambda up: {**system.environment(up), **more})


def _other(system: System, program: str) -> System:
    def command(port: int, up: int) -> list[str]:
        return [program, *system.command(port, up)[1:]]

    return replace(system, name="other program", command=command)


def turn(started: Running, load: str) -> tuple[float, float]:
    """CPU time per request in us; and requests per second or, for one at a time, the median latency in ms."""
    before = started.cpu_s()
    result = drive(started.load(seconds=1.0, **LOADS[load]))
    cpu_us = (started.cpu_s() - before) / result["count"] * 1e6
    return cpu_us, result["p50_ms" if load == "one at a time" else "per_s"]


def main() -> int:
    options = _options()
    with ExitStack() as stack:
        port = stack.enter_context(upstream())
        systems = [stack.enter_context(running(s, port)) for s in variants(options.program, options.keys)]
        for load in LOADS:
            ratios: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for number in range(options.turns + 1):  # the first turn is warm-up
                order = systems if number % 2 else systems[::-1]
                figures = {started.system.name: turn(started, load) for started in order}
                if number:
                    first = figures[systems[0].system.name]
                    for name, (cpu_us, measure) in figures.items():
                        ratios[name].append((cpu_us / first[0], measure / first[1]))
            _print(load, ratios)
    return 0


def _print(load: str, ratios: Mapping[str, list[tuple[float, float]]]) -> None:
    print(f"\n{load:<16}{'CPU':>8}{'p50' if load == 'one at a time' else '/s':>8}   relative to {next(iter(ratios))}")
    for name, rows in list(ratios.items())[1:]:
        cpu, measure = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<16}{cpu:>8.3f}{measure:>8.3f}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pairs", description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--keys", type=int, default=50, help="number of keys in the variant with many keys")
    parser.add_argument(
        "--program", metavar="PATH", help="the proxy-core of another environment, for example an older one"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
