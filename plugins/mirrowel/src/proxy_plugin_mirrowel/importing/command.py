"""``proxy-core import mirrowel``."""

from __future__ import annotations

from pathlib import Path

import click

from proxy_core.cli.api import notify_running_proxy, table, user_file
from proxy_plugin_mirrowel.importing.old_folder import read_folder
from proxy_plugin_mirrowel.importing.plan import Plan, made
from proxy_plugin_mirrowel.importing.rows import count
from proxy_plugin_mirrowel.importing.target import Target, open_target


@click.group("import")
def group() -> None:
    """Take over settings, keys and usage from another program."""


@group.command("mirrowel")
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="Settings file to write (default: the user's own).")
@click.option("--yes", is_flag=True, help="Write without asking.")
def mirrowel(folder: Path, config: Path | None, yes: bool) -> None:
    """Take over FOLDER (default: this one) of Mirrowel's LLM-API-Key-Proxy.

    First a table says what becomes of each line and file; then you are asked. Nothing in FOLDER is changed, and nothing
    that is set up here already. Keys and logins are copied to the vault, settings to the settings file, which only
    you can read. What was imported before is not imported again.
    """
    old = read_folder(folder.resolve())
    if old.is_empty:
        raise click.UsageError(f"{folder.resolve()} is no folder of that proxy: it has no .env, oauth_creds or usage")
    target = open_target(config, old.path)
    plan = made(old, target)
    click.echo(table(("in the old folder", "", "here"), [(row.what, row.verdict, row.note) for row in plan.rows]))
    click.echo(count(plan.rows))
    if plan.is_empty:
        click.echo("nothing to write")
        return
    if not yes and not click.confirm(_question(plan, target)):
        raise click.ClickException("nothing was written")
    _write(plan, target)
    click.echo(f"written. Start it, in another folder than the old one, with: proxy-core serve{_option(target)}")


def _question(plan: Plan, target: Target) -> str:
    parts = [
        f"{len(plan.settings)} settings to {target.file}",
        f"{len(plan.credentials)} keys and logins to {target.vault.folder}",
        f"{len(plan.usage)} totals of usage to the store",
    ]
    return f"Write {', '.join(part for part in parts if not part.startswith('0 '))}?"


def _write(plan: Plan, target: Target) -> None:
    """Each file is replaced as a whole; after a failure between two of them, another run writes the rest."""
    try:
        if plan.credentials:
            target.store(plan.credentials)
        if plan.settings:
            target.write_settings(plan.settings)
    except OSError as error:
        raise click.ClickException(f"{error.filename or target.file}: {error.strerror}; run it again") from error
    except ValueError as error:
        raise click.ClickException(f"{target.file}: {error}; mend it and run the command again") from error
    if plan.usage:
        target.add_usage(plan.usage)
    notify_running_proxy(target.loaded)


def _option(target: Target) -> str:
    return "" if target.file == user_file().absolute() else f" --config {target.file}"
