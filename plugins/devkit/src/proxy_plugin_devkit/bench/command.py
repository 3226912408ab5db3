"""``proxy-core bench``: measure, print figures and targets, and exit with 1 if a target is missed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_PARTS = ("hot", "calls", "start", "growth", "large", "workers")


@click.command("bench")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Turns of each system.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Duration of each load in a turn.")
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Measure only this part; may be repeated.")
@click.option("--litellm-python", metavar="PATH", help="Also measure LiteLLM: a Python that has litellm[proxy].")
@click.option("--program", metavar="PATH", help="Also measure the proxy-core of another environment.")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures here.")
def command(
    turns: int,
    seconds: float,
    only: tuple[str, ...],
    litellm_python: str | None,
    program: str | None,
    json_file: Path | None,
) -> None:
    """Compare this proxy-core with a bare relay, side by side on one core."""
    if not Path("/proc/self/statm").exists():
        raise click.ClickException("bench reads CPU time and memory from /proc, which this system does not have")
    # Imported here because no other command needs it.
    from proxy_plugin_devkit.bench.run import Options, run

    options = Options(turns=turns, seconds=seconds, litellm_python=litellm_python, program=program)
    sys.exit(run(only or _PARTS, options, json_file))
