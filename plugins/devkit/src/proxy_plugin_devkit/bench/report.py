"""What was measured, and by how much it meets or misses each target."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata

from proxy_plugin_devkit.bench.measure import Figures


@dataclass(frozen=True, slots=True)
class Target:
    """``bound`` is the least value if ``at_least``, else the greatest."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        margin = (self.value - self.bound) * (1 if self.at_least else -1)
        sign = ">=" if self.at_least else "<="
        mark = "ok    " if self.met else "MISSED"
        return f"{mark}  {self.name:52}{self.value:8.2f}   target {sign} {self.bound:<6g} margin {margin:+.2f}"


def hot_targets(ratios: Figures, ours: str, records: str) -> Iterable[Target]:
    """Of the proxy under Hypercorn; all ratios are to the relay."""
    yield Target("plain, share of the relay's throughput", ratios["plain /s"][ours], 0.85, at_least=True)
    yield Target("streams, share of the relay's throughput", ratios["streams /s"][ours], 0.85, at_least=True)
    yield Target("CPU per request, times the relay's", ratios["plain CPU us"][ours], 1.2)
    yield Target("CPU per chunk, times the relay's", ratios["chunk CPU us"][ours], 1.05)
    yield Target("one connection, p50, times the relay's", ratios["p50 ms"][ours], 1.25)
    yield Target("one connection, p99, times the relay's", ratios["p99 ms"][ours], 2.0)
    for measure in ("plain /s", "streams /s"):
        share = ratios[measure][records] / ratios[measure][ours]
        yield Target(f"records on, share of {measure} with records off", share, 0.85, at_least=True)


def uvicorn_targets(ratios: Figures, uvicorn: str) -> Iterable[Target]:
    yield Target("uvicorn: plain, share of the Hypercorn relay", ratios["plain /s"][uvicorn], 1.15, at_least=True)
    yield Target("uvicorn: streams, share of the Hypercorn relay", ratios["streams /s"][uvicorn], 1.10, at_least=True)


def start_targets(found: Mapping[str, float]) -> Iterable[Target]:
    yield Target("ready, times the CPU time of the imports", found["ready s"] / found["imports CPU s"], 1.1)
    yield Target("idle memory with five plugins, MB", found["idle MB"], 60)
    yield Target("200 providers, times the start of one", found["200 providers s"] / found["1 provider s"], 1.2)


def growth_targets(found: Mapping[str, float]) -> Iterable[Target]:
    for kind, ratio in found.items():
        yield Target(f"CPU per request with many {kind}, times with few", ratio, 1.05)


def large_targets(found: Mapping[str, float]) -> Iterable[Target]:
    for kind, delay_ms in found.items():
        yield Target(f"delay of others by a {kind} of 20 MB, ms", delay_ms, 20)


def print_figures(figures: Figures, title: str) -> None:
    names = list(next(iter(figures.values())))
    print(f"\n{title:16}" + "".join(f"{name:>22}" for name in names))
    for measure, row in figures.items():
        print(f"{measure:16}" + "".join(f"{row[name]:22.2f}" for name in names))


def print_head() -> None:
    versions = [f"{name} {metadata.version(name)}" for name in ("starlette", "hypercorn", "httpx", "aiohttp", "uvloop")]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {', '.join(versions)}")


def print_targets(targets: Iterable[Target]) -> int:
    """Returns 1 if one is missed."""
    listed = list(targets)
    print("\n" + "\n".join(map(str, listed)))
    return 0 if all(target.met for target in listed) else 1
