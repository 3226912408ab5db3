"""``proxy-core models``: the models that clients see, fetched from the providers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from proxy_core.cli.common import read_settings, settings_options, table
from proxy_core.interfaces import ModelSpec
from proxy_core.runtime.start import start


@click.command("models")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(config: Path | None, disable_plugin: tuple[str, ...], as_json: bool) -> None:
    """List all models. This asks every provider and needs no running proxy."""
    found = asyncio.run(_models(config, disable_plugin))
    if as_json:
        click.echo(json.dumps([{"id": name, "owned_by": m.owned_by} for name, m in found.items()], indent=2))
    else:
        click.echo(table(("model", "owned by"), [(name, m.owned_by or "-") for name, m in found.items()]))


async def _models(config: Path | None, disable_plugin: tuple[str, ...]) -> dict[str, ModelSpec]:
    active = start(read_settings(config, disable_plugin))
    async with active.current.open(), active.process.open():
        return await active.current.directory.all()
