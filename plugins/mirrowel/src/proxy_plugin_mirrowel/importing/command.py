"""``proxy-core import mirrowel``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("import")
def group() -> None:
    """Take over settings, keys and usage from another program."""


@group.command("mirrowel")
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="Settings file to write (default: the user's own).")
@click.option("--yes", is_flag=True, help="Write without asking.")
@click.option("--again", is_flag=True, help="Also what was imported before and is gone since.")
def mirrowel(folder: Path, config: Path | None, yes: bool, again: bool) -> None:
    """Take over FOLDER (default: this one) of Mirrowel's LLM-API-Key-Proxy.

    First a table says what becomes of each line and file; then you are asked. Nothing in FOLDER is changed, and nothing
    that is set up here already. Keys and logins are copied to the vault, settings to the settings file, which only
    you can read. What was imported before is not imported again, even if it was
    removed here since, unless you say --again.
    """
    from proxy_plugin_mirrowel.importing.run import run  # every command of a plugin would wait for it

    run(folder.resolve(), config, yes, again)
