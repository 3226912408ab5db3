"""``python -m benchmarks.faults``: thousands of requests through the real program to an upstream that fails.

Every request must end in the right class and within its limits, nothing may be sent again after content, and nothing
may leak. Prints the figures; if a check fails, prints the stories of the offending requests and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import faults_check as check
from benchmarks.faults_load import Seen
from benchmarks.faults_systems import Run, attempts_of, clients, faulty_upstream, in_flight, load_of, program, why
from benchmarks.faulty import Attempt
from proxy_plugin_devkit.bench.systems import Running, running

_SHOWN = 10
#: A run with fewer requests is all warm-up, so its memory figures mean nothing.
_ENOUGH = 2000
#: Share of hints that may be violated, because a request may already be on its way when the 429 arrives.
_EARLY = 0.05


@dataclass(slots=True)
class Outcome:
    """Figures by name, and failed checks: one line each, with the stories behind them."""

    figures: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    offending: list[check.Story] = field(default_factory=list)
    stories: list[check.Story] = field(default_factory=list)


# --- The run -----------------------------------------------------------------------------


def fault_run(run: Run) -> Outcome:
    """Run everything, then every check."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as log:
        dead = min(2, run.credentials // 2)
        with faulty_upstream(run.seed, dead) as upstream_port:
            system = program(run, run.credentials, Path(log))
            with running(system, upstream_port) as proxy:
                seen = _drive(run, proxy, outcome)
                _settle(proxy, upstream_port, outcome)
                attempts = attempts_of(upstream_port)
        _errors_of_its_own(Path(log), outcome)
    outcome.stories = check.stories(seen, attempts)
    _run_checks(run, outcome.stories, attempts, outcome)
    return outcome


def _drive(run: Run, proxy: Running, outcome: Outcome) -> list[Seen]:
    """Run the load; sample memory and, now and then, the leases."""
    load = load_of(run, proxy, requests=run.requests, concurrency=run.concurrency)
    began, memory, leases = time.monotonic(), list[float](), list[int]()
    with clients(load) as (process, seen):
        while process.poll() is None:
            if time.monotonic() - began > run.longest_s:
                raise RuntimeError(f"the fault run did not end within {run.longest_s} s")
            memory.append(proxy.resident_mb())
            if len(memory) % 5 == 2:
                leases.append(sum(in_flight(why(proxy.port))))
            time.sleep(0.2)
        outcome.figures["took s"] = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"the load ended with {process.returncode}")
        result = seen()
    outcome.figures["leases at once, most seen"] = max(leases, default=0)
    _memory(run, memory, outcome)
    return result


def _memory(run: Run, samples: Sequence[float], outcome: Outcome) -> None:
    """Compare the last third with the first, after skipping a tenth for warm-up."""
    steady = samples[len(samples) // 10 :]
    third = max(1, len(steady) // 3)
    first, last = check.percentile(sorted(steady[:third]), 0.5), check.percentile(sorted(steady[-third:]), 0.5)
    outcome.figures["memory MB"] = {"first third": first, "last third": last, "most": max(samples)}
    if run.requests >= _ENOUGH and last - first > max(20.0, 0.1 * first):
        outcome.failed.append(f"memory grew from {first:.1f} to {last:.1f} MB")


def _settle(proxy: Running, upstream_port: int, outcome: Outcome, limit_s: float = 3.0) -> None:
    """Check that in the end nothing is in flight, neither at the proxy nor at the upstream."""
    deadline = time.monotonic() + limit_s
    while True:
        report, open_now = why(proxy.port), sum(a.end == "open" for a in attempts_of(upstream_port))
        leases = in_flight(report)
        if (not sum(leases) and not open_now) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if open_now:
        outcome.failed.append(f"{open_now} requests are still open at the upstream")
    if report is None:
        outcome.notes.append("there is no /admin/why: leases in flight were not checked")
    elif not leases:
        outcome.failed.append("/admin/why reports no in_flight")
    elif not outcome.figures["leases at once, most seen"]:
        outcome.failed.append("in_flight was 0 all the time")
    elif sum(leases):
        outcome.failed.append(f"{sum(leases)} leases were not returned")


def _errors_of_its_own(log: Path, outcome: Outcome) -> None:
    lines = [line for file in log.glob("*.log") for line in file.read_text().splitlines()]
    tracebacks = sum(line.startswith("Traceback") or "request failed" in line for line in lines)
    outcome.figures["lines in the proxy's log"] = len(lines)
    if tracebacks:
        first = next(n for n, line in enumerate(lines) if line.startswith("Traceback") or "request failed" in line)
        outcome.failed.append("the proxy logged errors of its own:\n" + "\n".join(lines[first : first + 40]))


def _run_checks(run: Run, stories: Sequence[check.Story], attempts: Sequence[Attempt], outcome: Outcome) -> None:
    if len(stories) != run.requests:
        outcome.failed.append(f"{len(stories)} of {run.requests} requests came to an end")
    found: dict[str, list[check.Story]] = {}
    for story in stories:
        for problem in check.problems(story, run.bounds):
            found.setdefault(problem, []).append(story)
    for problem, of in sorted(found.items(), key=lambda item: -len(item[1])):
        outcome.failed.append(f"{len(of)} requests: {problem} (as {', '.join(s.seen.id for s in of[:5])})")
        outcome.offending += [s for s in of[:3] if s not in outcome.offending]
    served = check.share_served(stories)
    if served < run.served:
        outcome.failed.append(f"only {served:.1%} of the clients that stayed were served, less than {run.served:.0%}")
    cooldowns = check.cooldowns(attempts, min(run.half_open_after_s, run.bounds.max_cooldown_s))
    outcome.notes += [f"after {n}: {r}; was the hint read?" for n, r in cooldowns.items() if r.late and _saturated(run)]
    readable, early = sum(r.readable for r in cooldowns.values()), sum(r.early for r in cooldowns.values())
    if early > max(3, _EARLY * readable):
        outcome.failed.append(f"of {readable} keys with a readable hint, {early} were used again too early")
    tries = [len(s.attempts) for s in stories]
    outcome.figures |= {
        "seed": run.seed,
        "served": served,
        "ends": check.classes(stories),
        "attempts": len(attempts),
        "attempts per request": sum(tries) / max(1, len(tries)),
        "attempts, most": max(tries, default=0),
        "added by rotation ms": _spread(check.added_s(stories, rotated=True)),
        "added by retries with the same key ms": _spread(check.added_s(stories, rotated=False)),
        "longest s": max((s.seen.took_s for s in stories), default=0.0),
        "attempts by what the upstream did": check.faults(attempts),
        "keys used again after": {name: str(cooldown) for name, cooldown in cooldowns.items()},
    }


def _saturated(run: Run) -> bool:
    """Whether every available key is used soon."""
    return run.requests >= _ENOUGH and run.concurrency >= 2 * run.credentials


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    spread = {name: check.percentile(seconds, share) * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"requests": len(seconds), **spread}


# --- Rotation ----------------------------------------------------------------------------


def rotation_ms(run: Run, pairs: int = 150) -> dict[str, float]:
    """Milliseconds that one 429 on the way adds at concurrency 1: the time with it minus the time without it.

    Every second request gets a 429 with ``Retry-After: 1`` first; there are enough keys that each has left its
    cooldown before its next turn.
    """
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream_port = stack.enter_context(faulty_upstream(0, 0))
        proxy = stack.enter_context(running(program(run, 200, log), upstream_port))
        load = load_of(run, proxy, requests=2 * pairs, concurrency=1, kind="pairs", pause_s=0.005)
        process, seen = stack.enter_context(clients(load))
        process.wait(60)
        results = [one for one in seen() if one.status == 200 and one.marks]
    took = {
        kind: sorted(one.took_s * 1000 for one in results[20:] if one.kind == kind) for kind in ("direct", "rotated")
    }
    if min(len(times) for times in took.values()) < pairs * 0.8:
        raise RuntimeError("too many requests failed to measure rotation")
    return {
        name: check.percentile(took["rotated"], share) - check.percentile(took["direct"], share)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }


# --- The command -------------------------------------------------------------------------


def main() -> int:
    options = _options()
    run = Run(
        requests=options.requests,
        concurrency=options.concurrency,
        credentials=options.credentials,
        seed=options.seed,
        longest_s=max(600, options.requests / 10),
    )
    outcome = fault_run(run)
    added = outcome.figures["rotation after a 429 adds ms"] = rotation_ms(run)
    if added["p50"] > 10:
        outcome.failed.append(f"rotation after a 429 adds {added['p50']:.1f} ms, at most 10 are allowed")
    print_outcome(outcome)
    if options.json:
        results = {"figures": outcome.figures, "failed": outcome.failed, "notes": outcome.notes}
        Path(options.json).write_text(json.dumps(results, indent=1))
    if options.stories:
        Path(options.stories).write_text("".join(json.dumps(asdict(story)) + "\n" for story in outcome.stories))
    return 1 if outcome.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="number of requests")
    parser.add_argument("--concurrency", type=int, default=64, help="concurrent clients")
    parser.add_argument("--credentials", type=int, default=20, help="number of keys; two of them are always refused")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="determines which attempts fail, and how")
    parser.add_argument("--json", metavar="FILE", help="write all figures here")
    parser.add_argument(
        "--stories", metavar="FILE", help="write what happened to each request, one JSON line per request"
    )
    return parser.parse_args()


def print_outcome(outcome: Outcome) -> None:
    for name, value in outcome.figures.items():
        if not isinstance(value, dict):
            print(f"{name:38}{_figure(value)}")
            continue
        print(name)
        for part, figure in value.items():
            print(f"    {part:34}{_figure(figure)}")
    for note in outcome.notes:
        print(f"NOTE    {note}")
    for story in outcome.offending[:_SHOWN]:
        print(story)
    for line in outcome.failed:
        print(f"FAILED  {line}")
    if not outcome.failed:
        print("ok      all checks passed")


def _figure(value: object) -> str:
    return f"{value:10.2f}" if isinstance(value, float) else f"{value!s:>8}"


if __name__ == "__main__":
    sys.exit(main())
