"""``proxy-core bench``: measure, print a table with ratios and targets, and exit with 1 if a target is missed."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("bench")
@click.option(
    "--runs", type=click.IntRange(1), default=5, show_default=True, help="Number of runs; the report shows medians."
)
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Duration of each load.")
@click.option("--litellm-python", metavar="PATH", help="Also measure LiteLLM: a Python that has litellm[proxy].")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures here.")
def command(runs: int, seconds: float, litellm_python: str | None, json_file: Path | None) -> None:
    """Compare this proxy-core with a bare relay."""
    if not Path("/proc/self/statm").exists():
        raise click.ClickException("bench reads CPU time and memory from /proc, which this system does not have")
    # Imported here because no other command needs it.
    from proxy_plugin_devkit.bench.measure import measure

    sys.exit(measure(runs=runs, seconds=seconds, litellm_python=litellm_python, json_file=json_file))
