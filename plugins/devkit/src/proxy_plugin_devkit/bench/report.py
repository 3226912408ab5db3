"""The table of figures, and the targets that they must meet."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata

Medians = Mapping[str, Mapping[str, float]]
YARDSTICK, OURS, RECORDS, RIVAL = "relay over aiohttp", "proxy-core", "proxy-core, records", "LiteLLM"
MEASURES = ("plain /s", "streams /s", "chunk us", "added p50 ms", "added p99 ms", "cold start s", "idle MB")

#: Name, how to compute our figure from the medians, whether a figure meets the target, the target as text.
TARGETS: tuple[tuple[str, Callable[[Medians], float], Callable[[float], bool], str], ...] = (
    ("plain, share of the relay", lambda m: _ratio(m, "plain /s"), lambda v: v >= 0.70, ">= 0.70"),
    ("streams, share of the relay", lambda m: _ratio(m, "streams /s"), lambda v: v >= 0.70, ">= 0.70"),
    ("CPU per chunk, times the relay", lambda m: _ratio(m, "chunk us"), lambda v: v <= 1.5, "<= 1.5"),
    ("added latency p50, ms", lambda m: m[OURS]["added p50 ms"], lambda v: v <= 1, "<= 1"),
    ("added latency p99, ms", lambda m: m[OURS]["added p99 ms"], lambda v: v <= 5, "<= 5"),
    ("cold start, s", lambda m: m[OURS]["cold start s"], lambda v: v <= 0.9, "<= 0.9"),
    ("idle memory, MB", lambda m: m[OURS]["idle MB"], lambda v: v <= 80, "<= 80"),
    ("records on, share of plain", lambda m: _cost(m, "plain /s"), lambda v: v >= 0.85, ">= 0.85"),
    ("records on, times CPU per chunk", lambda m: _cost(m, "chunk us"), lambda v: v <= 1.3, "<= 1.3"),
    ("import proxy_core, ms", lambda m: m[OURS]["import ms"], lambda v: v <= 250, "<= 250"),
)
RIVAL_TARGETS = (
    ("plain, times LiteLLM", lambda m: m[OURS]["plain /s"] / m[RIVAL]["plain /s"], lambda v: v >= 10, ">= 10"),
    ("streams, times LiteLLM", lambda m: m[OURS]["streams /s"] / m[RIVAL]["streams /s"], lambda v: v >= 10, ">= 10"),
)


def _ratio(medians: Medians, measure: str) -> float:
    return medians[OURS][measure] / medians[YARDSTICK][measure]


def _cost(medians: Medians, measure: str) -> float:
    """Our figure with request records and redaction, divided by the figure without them."""
    return medians[RECORDS][measure] / medians[OURS][measure]


def print_report(medians: Medians) -> None:
    versions = [f"{name} {metadata.version(name)}" for name in ("starlette", "hypercorn", "httpx", "aiohttp", "uvloop")]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {', '.join(versions)}; medians\n")
    print(f"{'':22}" + "".join(f"{measure:>14}" for measure in MEASURES))
    for name, row in medians.items():
        print(f"{name:22}" + "".join(f"{row[measure]:14.2f}" for measure in MEASURES))
    yardstick = medians[YARDSTICK]
    ratios = [medians[OURS][measure] / yardstick[measure] for measure in MEASURES]
    print(f"{'ours / relay':22}" + "".join(f"{ratio:14.2f}" for ratio in ratios) + "\n")


def check_targets(medians: Medians) -> int:
    """Print each target and whether it is met. Returns 1 if one is missed."""
    missed = 0
    for name, figure, met, target in (*TARGETS, *(RIVAL_TARGETS if RIVAL in medians else ())):
        value = figure(medians)
        missed += not met(value)
        print(f"{'ok    ' if met(value) else 'MISSED'}  {name:32} {value:8.2f}   target {target}")
    return 1 if missed else 0
