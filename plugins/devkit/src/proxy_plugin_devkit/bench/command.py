"""``proxy-core bench``: measure, print figures and targets, and exit with 1 if a target is missed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_PARTS = ("hot", "calls", "start", "growth", "large", "workers")


@click.command("bench")
@click.argument("url", required=False)
@click.option("--key", envvar="PROXY_API_KEY", default="", help="With URL: a client key of it [PROXY_API_KEY].")
@click.option("--model", default="bench/small", show_default=True, help="With URL: the model whose upstream is here.")
@click.option("--port", default=9100, show_default=True, help="With URL: where the gateway finds the upstream.")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Turns of each system.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Duration of each load in a turn.")
@click.option("--only", type=click.Choice(_PARTS), multiple=True, help="Measure only this part; may be repeated.")
@click.option("--litellm-python", metavar="PATH", help="Also measure LiteLLM: a Python that has litellm[proxy].")
@click.option("--program", metavar="PATH", help="Also measure the proxy-core of another environment.")
@click.option("--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures here.")
def command(
    url: str | None,
    key: str,
    model: str,
    port: int,
    turns: int,
    seconds: float,
    only: tuple[str, ...],
    litellm_python: str | None,
    program: str | None,
    json_file: Path | None,
) -> None:
    """Compare this proxy-core with a bare relay, side by side on one core.

    With URL, such as http://127.0.0.1:4000/v1, any OpenAI-compatible gateway that runs already is compared with the
    upstream alone; --json then is a file or - for the terminal, and the options of parts and turns have no effect.
    """
    if url is not None:
        from proxy_plugin_devkit.bench.gateway import Target, measure, report

        rows = measure(Target(url=url, key=key, model=model), port, seconds)
        if json_file is not None and str(json_file) != "-":
            json_file.write_text(report(rows, as_json=True))
        click.echo(report(rows, as_json=str(json_file) == "-"))
        return
    if not Path("/proc/self/statm").exists():
        raise click.ClickException("bench reads CPU time and memory from /proc, which this system does not have")
    # Imported here because no other command needs it.
    from proxy_plugin_devkit.bench.run import Options, run

    options = Options(turns=turns, seconds=seconds, litellm_python=litellm_python, program=program)
    sys.exit(run(only or _PARTS, options, json_file))
