"""``proxy-core cooldown``: ending rests on a running proxy."""

from __future__ import annotations

from pathlib import Path

import click

from proxy_core.cli.common import read_settings, settings_options
from proxy_core.cli.running import processes


@click.group("cooldown")
def command() -> None:
    """What rests after failures."""


@command.command("clear")
@settings_options
@click.option("--provider", help="Only this provider's credentials.")
@click.option("--credential", metavar="ID", help="Only the credential with this fingerprint, see `proxy-core why`.")
@click.option("--model", help="Only for this model; else for all.")
def clear(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str | None,
    credential: str | None,
    model: str | None,
) -> None:
    """Use again what rests, at once: credentials, own caps, marks of the fair cycle, providers."""
    wanted = {"provider": provider, "credential": credential, "model": model}
    asked = {name: value for name, value in wanted.items() if value is not None}
    found = processes(read_settings(config, disable_plugin), "POST", "/admin/cooldowns/clear", asked)
    cleared = sum(process["cleared"] for process in found)
    click.echo(f"cleared: {cleared}" + (f" in {len(found)} processes" if len(found) > 1 else ""))
