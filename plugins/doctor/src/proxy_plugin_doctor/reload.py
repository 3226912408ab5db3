"""``proxy-core reload``: make the running proxy read its settings and credentials again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from proxy_core import SetupError
from proxy_core.cli.api import printable, processes, read_settings, settings_options

#: A reload takes less than a second, but it may have to wait for another one.
_WITHIN_S = 60.0


@click.command("reload")
@settings_options
def command(config: Path | None, disable_plugin: tuple[str, ...]) -> None:
    """Make the running proxy read its settings and credentials again, in every process.

    If there is an error in them, nothing changes, the errors are shown and the exit code is 1.
    """
    try:
        loaded = read_settings(config, disable_plugin)
    except SetupError as error:  # the proxy would find the same errors, and cannot be reached without settings
        for line in str(error).splitlines():
            click.echo(f"proxy-core: {line}", err=True)
        click.echo("nothing was changed", err=True)
        sys.exit(1)
    found = processes(loaded, "POST", "/admin/reload", within_s=_WITHIN_S)
    for process in found:
        _show(process, several=len(found) > 1)
    if not all(process["reloaded"] for process in found):
        sys.exit(1)


def _show(process: Mapping[str, Any], *, several: bool) -> None:
    where = f"process {process['process']}: " if several else ""
    if not process["reloaded"]:
        for problem in process["problems"]:
            click.echo(f"{where}{printable(problem)}", err=True)
        click.echo(f"{where}nothing was changed", err=True)
        return
    click.echo(f"{where}reloaded" if process["changed"] else f"{where}reloaded, no changes")
    for key in process["changed"]:
        click.echo(f"  changed: {printable(key)}")
    for key in process["needs_restart"]:
        click.echo(f"  needs a restart: {printable(key)}")
    for warning in process["warnings"]:
        click.echo(f"  warning: {printable(warning)}")
