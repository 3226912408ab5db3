"""``proxy-core client-key``: a client's key, for programs that ask a command for it."""

from __future__ import annotations

from pathlib import Path

import click

from proxy_core.cli.api import read_settings, settings_options
from proxy_plugin_clients.endpoint import key_of


@click.command("client-key")
@settings_options
@click.argument("name", required=False)
def command(config: Path | None, disable_plugin: tuple[str, ...], name: str | None) -> None:
    """Print the key of the client NAME, or of the only one: for `export X="$(proxy-core client-key)"`."""
    key = key_of(read_settings(config, disable_plugin), name)
    if key.value is None:
        raise click.ClickException(f"{key.file} does not exist yet; the first start of the proxy creates it")
    click.echo(key.value.get_secret_value())
