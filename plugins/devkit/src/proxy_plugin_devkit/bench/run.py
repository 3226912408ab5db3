"""Runs the parts of the benchmark, and prints the figures and targets of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from proxy_plugin_devkit.bench import growth, report
from proxy_plugin_devkit.bench.calls import count_calls
from proxy_plugin_devkit.bench.measure import compare
from proxy_plugin_devkit.bench.report import Target
from proxy_plugin_devkit.bench.systems import litellm, proxy_core, relay, upstream

RELAY, OURS, RECORDS = relay(), proxy_core(), proxy_core("proxy-core, records", "--enable-request-logging")
UVICORN = proxy_core("proxy-core, uvicorn", "--server", "uvicorn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    turns: int
    seconds: float
    #: A Python that has ``litellm[proxy]``; the ``proxy-core`` of another environment.
    litellm_python: str | None = None
    program: str | None = None
    #: Everything measured, for a file.
    figures: dict[str, object] = field(default_factory=dict)


def _hot(port: int, options: Options) -> Iterator[Target]:
    has_uvicorn = find_spec("uvicorn") is not None
    systems = [RELAY, OURS, RECORDS, *([UVICORN] if has_uvicorn else [])]
    systems += [litellm(options.litellm_python)] if options.litellm_python else []
    systems += [proxy_core("other program", program=options.program)] if options.program else []
    medians, ratios = compare(systems, port, turns=options.turns, seconds=options.seconds)
    options.figures["hot"] = {"medians": medians, "ratios": ratios}
    report.print_figures(medians, "medians")
    report.print_figures(ratios, "times the relay")
    yield from report.hot_targets(ratios, OURS.name, RECORDS.name)
    if has_uvicorn:
        yield from report.uvicorn_targets(ratios, UVICORN.name)


def _calls(port: int, options: Options) -> Iterator[Target]:
    calls = {system.name: count_calls(system, port) for system in (RELAY, OURS)}
    options.figures["calls"] = {name: asdict(found) for name, found in calls.items()}
    table = {
        "per request": {name: found.per_request for name, found in calls.items()},
        "per chunk": {name: found.per_chunk for name, found in calls.items()},
    }
    report.print_figures(table, "calls")
    yield from ()


def _start(port: int, options: Options) -> Iterator[Target]:
    found = growth.start_times(port, options.turns)
    options.figures["start"] = found
    print("\n" + ", ".join(f"{name}: {value:.2f}" for name, value in found.items()))
    yield from report.start_targets(found)


def _growth(port: int, options: Options) -> Iterator[Target]:
    found = growth.growth(port, turns=options.turns, seconds=options.seconds)
    options.figures["growth"] = found
    yield from report.growth_targets(found)


def _large(port: int, options: Options) -> Iterator[Target]:
    found = growth.delay_by_large_body(port, options.turns)
    options.figures["large"] = found
    yield from report.large_targets(found)


def _workers(port: int, options: Options) -> Iterator[Target]:
    ratio = growth.two_workers(port, options.seconds)
    options.figures["workers"] = ratio
    print(f"\ntwo workers serve {ratio:.2f} times as much as one; the load and the upstream use the same cores")
    yield from ()


PARTS: Mapping[str, Callable[[int, Options], Iterable[Target]]] = {
    "hot": _hot,
    "calls": _calls,
    "start": _start,
    "growth": _growth,
    "large": _large,
    "workers": _workers,
}


def run(parts: Sequence[str], options: Options, json_file: Path | None) -> int:
    """Returns 1 if a target is missed."""
    report.print_head()
    with upstream() as port:
        targets = [target for part in parts for target in PARTS[part](port, options)]
    if json_file is not None:
        rows = [{**asdict(target), "met": target.met} for target in targets]
        json_file.write_text(json.dumps({"targets": rows, **options.figures}, indent=1))
    return report.print_targets(targets)
