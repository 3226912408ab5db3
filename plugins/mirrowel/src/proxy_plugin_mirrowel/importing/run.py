"""One run of ``proxy-core import mirrowel``: the table, the question, and what is written."""

from __future__ import annotations

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from proxy_core.cli.api import VaultProblem, notify_running_proxy, table, user_file
from proxy_plugin_mirrowel.importing.old_folder import read_folder
from proxy_plugin_mirrowel.importing.plan import Plan, made
from proxy_plugin_mirrowel.importing.rows import count
from proxy_plugin_mirrowel.importing.target import Target, open_target


def run(folder: Path, config: Path | None, yes: bool, again: bool) -> None:
    """``folder`` is absolute. Raises ``ClickException``, ``SetupError``."""
    old = read_folder(folder)
    if old.is_empty:
        raise click.UsageError(f"{folder} is no folder of that proxy: it has no .env, oauth_creds or usage")
    with TemporaryDirectory() as scratch:  # a start's own files: nothing is written before the user agrees
        target = open_target(config, old.path, Path(scratch), again=again)
        plan = made(old, target)
    click.echo(table(("in the old folder", "", "here"), [(row.what, row.verdict, row.note) for row in plan.rows]))
    click.echo(count(plan.rows))
    if plan.is_empty:
        click.echo("nothing to write")
        return
    if not yes and not click.confirm(_question(plan, target)):
        raise click.ClickException("nothing was written")
    target = open_target(config, old.path, again=again)
    _write(old.path, made(old, target), target)
    elsewhere = ", in another folder than the old one," if target.file.parent != folder else ""
    click.echo(f"written. Start it{elsewhere} with: proxy-core serve{_option(target)}")


def _question(plan: Plan, target: Target) -> str:
    parts = [
        f"{len(plan.settings)} settings to {target.file}",
        f"{len(plan.credentials)} keys and logins to {target.vault.folder}",
        f"{len(plan.usage.new)} totals of usage to the store",
    ]
    return f"Write {', '.join(part for part in parts if not part.startswith('0 '))}?"


def _write(old: Path, plan: Plan, target: Target) -> None:
    """Each file is replaced as a whole; after a failure between two of them, another run writes the rest."""
    try:
        if plan.credentials:
            target.store(plan.credentials)
        if plan.settings:
            target.write_settings(plan.settings)
        target.remember(plan.credentials, plan.settings)
    except OSError as error:
        raise click.ClickException(f"{error.filename or target.file}: {error.strerror}; run it again") from error
    except ValueError as error:
        raise click.ClickException(f"{target.file}: {error}; mend it and run the command again") from error
    except VaultProblem as error:
        raise click.ClickException(str(error)) from error
    if plan.usage.new:
        target.add_usage(old, plan.usage.new, plan.usage.now)
    notify_running_proxy(target.loaded)


def _option(target: Target) -> str:
    return "" if target.file == user_file().absolute() else f" --config {shlex.quote(str(target.file))}"
