"""``proxy-core bench``: measure, print a table with ratios and targets, exit with 1 if a target is missed."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("bench")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of everything, for medians.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Length of each load.")
@click.option("--litellm-python", metavar="PATH", help="Measure LiteLLM too: an interpreter that has litellm[proxy].")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write every figure.")
def command(runs: int, seconds: float, litellm_python: str | None, json_file: Path | None) -> None:
    """Measure this proxy-core against a bare relay."""
    if not Path("/proc/self/statm").exists():
        raise click.ClickException("CPU time and memory are read from /proc, which this system does not have")
    # Here, because other commands need none of it.
    from proxy_plugin_devkit.bench.measure import measure

    sys.exit(measure(runs=runs, seconds=seconds, litellm_python=litellm_python, json_file=json_file))
