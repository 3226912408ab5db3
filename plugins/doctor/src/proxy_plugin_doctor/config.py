"""``proxy-core config``: check, show and compare settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from proxy_core import PluginError, SetupError
from proxy_core.cli.api import (
    LoadedSettings,
    catalog_of,
    check_start,
    lines_of,
    load_nothing_but,
    printable,
    read_settings,
    settings_options,
    table,
)
from proxy_plugin_doctor.effective import Value, effective_values, stray


@click.group("config")
def command() -> None:
    """Check settings before a start, show the values in effect, or compare two files."""


# --- check -------------------------------------------------------------------------------


@command.command("check")
@settings_options
def check_command(config: Path | None, disable_plugin: tuple[str, ...]) -> None:
    """Do everything that a start does except listening, and report all errors. The exit code is 1 if there are any."""
    problems, warnings = checked(config, disable_plugin)
    for line in problems:
        click.echo(f"problem: {printable(line)}")
    for line in warnings:
        click.echo(f"warning: {printable(line)}")
    if problems:
        raise SystemExit(1)
    click.echo("settings are valid" + (", with warnings" if warnings else ""))


def checked(config: Path | None, disable_plugin: Sequence[str] = ()) -> tuple[Sequence[str], Sequence[str]]:
    """Problems and warnings of a start, and variables that set nothing."""
    try:
        loaded = read_settings(config, disable_plugin)
    except SetupError as error:
        return lines_of(error), ()
    return check_settings(loaded)


def check_settings(loaded: LoadedSettings) -> tuple[Sequence[str], Sequence[str]]:
    """The same for settings that were read already."""
    found = check_start(loaded)
    misspelled = stray(loaded, found.catalog) if found.catalog is not None else ()
    return found.problems, list(dict.fromkeys([*found.warnings, *misspelled]))


# --- show --------------------------------------------------------------------------------


@command.command("show")
@settings_options
@click.option("--all", "everything", is_flag=True, help="Include defaults.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def show_command(config: Path | None, disable_plugin: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Show every setting that is set, with its value and origin. Secrets are masked."""
    loaded = read_settings(config, disable_plugin)
    values = effective_values(loaded, catalog_of(loaded), defaults=everything)
    if as_json:
        click.echo(json.dumps([described(value) for value in values], indent=2))
    elif values:
        click.echo(table(("setting", "value", "from"), [(v.key, v.shown, v.origin or "default") for v in values]))
    else:
        click.echo("nothing is set; --all shows the defaults")


def described(value: Value) -> dict[str, str]:
    return {"key": value.key, "value": value.shown, "origin": value.origin or "default"}


# --- diff --------------------------------------------------------------------------------


@command.command("diff")
@settings_options
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference.")
def diff_command(config: Path | None, disable_plugin: tuple[str, ...], file: Path | None, exit_code: bool) -> None:
    """Show what would change if FILE replaced the settings file; without FILE, show what differs from the defaults.

    The same environment variables apply to both sides, as they would after a reload. Secrets are masked.
    """
    now = read_settings(config, disable_plugin)
    new = _by_key(read_settings(file, disable_plugin) if file else now)
    old: Mapping[str, Value] = _by_key(now) if file else _defaults(now)
    lines = _difference(old, new)
    click.echo("\n".join(lines) if lines else "no difference")
    if lines and exit_code:
        raise SystemExit(1)


def _by_key(loaded: LoadedSettings) -> dict[str, Value]:
    return {value.key: value for value in effective_values(loaded, catalog_of(loaded), defaults=True)}


def _defaults(loaded: LoadedSettings) -> dict[str, Value]:
    """The values without any settings file or variable."""
    try:
        return _by_key(load_nothing_but({}, loaded.data_dir))
    except PluginError:
        return {}


def _difference(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[str]:
    """``-`` the current value, ``+`` the new one; for secrets only the fact that they differ."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before is not None and after is not None:
            if before.compared == after.compared:
                continue
            if before.shown == after.shown:
                lines.append(f"~ {key}: a different secret, from {printable(after.origin or 'default')}")
                continue
        if before is not None and (before.origin is not None or after is not None):
            lines.append(f"- {key} = {printable(before.shown)}")
        if after is not None and (after.origin is not None or before is not None):
            lines.append(f"+ {key} = {printable(after.shown)}  ({printable(after.origin or 'default')})")
    return lines
