"""``proxy-core cooldown``: end cooldowns in a running proxy."""

from __future__ import annotations

from pathlib import Path

import click

from proxy_core.cli.api import processes, read_settings, settings_options


@click.group("cooldown")
def command() -> None:
    """Cooldowns after failures."""


@command.command("clear")
@settings_options
@click.option("--provider", help="Only this provider's credentials.")
@click.option("--credential", metavar="ID", help="Only the credential with this id; `proxy-core why` shows ids.")
@click.option("--model", help="Only for this model (default: all models).")
def clear(
    config: Path | None,
    disable_plugin: tuple[str, ...],
    provider: str | None,
    credential: str | None,
    model: str | None,
) -> None:
    """End cooldowns at once, close circuit breakers, and reset reached caps and fair-cycle marks."""
    options = {"provider": provider, "credential": credential, "model": model}
    scope = {name: value for name, value in options.items() if value is not None}
    found = processes(read_settings(config, disable_plugin), "POST", "/admin/cooldowns/clear", scope)
    # Processes share cooldowns, so one of them may have cleared them for all.
    cleared = max(process["cleared"] for process in found)
    click.echo(f"cleared: {cleared}" + (f" in {len(found)} processes" if len(found) > 1 else ""))
