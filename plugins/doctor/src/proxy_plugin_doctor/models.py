"""``proxy-core models``: the models that clients see, fetched from the providers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from proxy_core.cli.api import models_of, printable, read_settings, settings_options, table


@click.command("models")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(config: Path | None, disable_plugin: tuple[str, ...], as_json: bool) -> None:
    """List all models. This asks every provider and needs no running proxy.

    Providers that did not answer are named on the error stream. The exit code is 1 if that leaves no model.
    """
    found, problems = asyncio.run(models_of(read_settings(config, disable_plugin)))
    if as_json:
        click.echo(json.dumps([{"id": name, "owned_by": m.owned_by} for name, m in found.items()], indent=2))
    else:
        click.echo(table(("model", "owned by"), [(name, m.owned_by or "-") for name, m in found.items()]))
    for provider, why in problems.items():
        click.echo(f"{provider} did not give its list of models: {printable(why)}", err=True)
    if problems and not found:
        raise SystemExit(1)
