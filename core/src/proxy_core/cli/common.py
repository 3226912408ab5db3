"""Shared by all commands: options for settings, tables, plugins' commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, TypeVar

import click

from proxy_core.errors import PluginConflict, SettingsError, SetupError
from proxy_core.plugins.guards import provider_problems
from proxy_core.plugins.loader import load_plugins
from proxy_core.plugins.plugin import Plugin
from proxy_core.settings.loading import LoadedSettings, WrongSettings, load, load_nothing_but

#: A column of a table is not made narrower than this.
_NARROW = 12
_BELOW: Any = {"initial_indent": "    ", "subsequent_indent": "      ", "break_long_words": False}

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """``--config`` and ``--disable-plugin``, for every command that reads settings."""
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="Settings file (default: ./proxy-core.toml, then the one in the user's configuration folder).",
    )
    disable_plugin = click.option(
        "--disable-plugin", multiple=True, metavar="NAME", help="Do not import this plugin; may be repeated."
    )
    return config(disable_plugin(command))


def plugin_overrides(disable_plugin: Sequence[str], config: Path | None) -> dict[str, Any]:
    """``--disable-plugin`` adds to the plugins that settings disable."""
    if not disable_plugin:
        return {}
    disabled = load(config).settings.plugins.disabled
    return {"plugins": {"disabled": [*disabled, *disable_plugin]}}


def read_settings(config: Path | None, disable_plugin: Sequence[str]) -> LoadedSettings:
    """The settings that a start would use. Raises ``SettingsError``."""
    return load_or_tell(config, plugin_overrides(disable_plugin, config))


def load_or_tell(config: Path | None, overrides: Mapping[str, Any]) -> LoadedSettings:
    """Raises ``SettingsError``, with the keys in variables of vendors that only plugins know, too."""
    try:
        return load(config, overrides=overrides)
    except WrongSettings as error:
        more: list[str] = []
        with suppress(SetupError):  # plugins cannot be found with what is left
            more = provider_problems(error.rest)
        raise SettingsError(list(dict.fromkeys([*error.problems, *more]))) from None


def plugin_commands(only: str | None = None) -> dict[str, click.Command]:
    """The commands of plugins. Of ``only``, if given: no other plugin is imported, and settings may be wrong.

    Groups of one name are joined. Any other command that two plugins define says so when it is called. Raises
    ``SettingsError``.
    """
    found: dict[str, click.Command] = {}
    owners: dict[str, str] = {}
    for plugin in _plugins_with_commands(only):
        for command in plugin.provided.get("proxy_cli_commands", ()):
            name = command.name or ""
            known = owners.setdefault(name, plugin.name)
            if known == plugin.name:
                found[name] = command
            else:
                found[name] = _joined(found[name], command) or _claimed_twice(name, plugin.name, known)
    return found


def _joined(one: click.Command, other: click.Command) -> click.Command | None:
    """The commands of both groups; ``None`` if that is not possible."""
    if not isinstance(one, click.Group) or not isinstance(other, click.Group) or one.commands.keys() & other.commands:
        return None
    return click.Group(one.name, {**one.commands, **other.commands}, help=one.help)


def _claimed_twice(name: str, plugin: str, other: str) -> click.Command:
    """In place of a command of two plugins: neither is run by chance, and all other commands work."""

    @click.command(name, context_settings={"ignore_unknown_options": True}, short_help="(claimed by two plugins)")
    @click.argument("args", nargs=-1)
    def conflict(args: Sequence[str]) -> None:
        raise PluginConflict(plugin, other, f"the command {name!r}")

    return conflict


def _plugins_with_commands(only: str | None) -> list[Plugin]:
    hooks = ("proxy_cli_commands",)
    if only is None:
        return load_plugins(load(), only=hooks)
    alone = {"plugins": {"allowed": [only]}}
    try:
        allowed = load().settings.plugins.allowed
        if allowed is not None and only not in allowed:
            return []
        return load_plugins(load(overrides=alone), only=hooks)
    except SetupError:
        return load_plugins(load_nothing_but(alone, Path()), only=hooks)


def printable(text: str) -> str:
    """``text`` on one line without control characters: it may come from an upstream or a client."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, each as wide as its widest cell, without padding at the end of a line.

    On a terminal that is too narrow for that, long cells are cut and follow below their row; with too many columns,
    each row is a block with a line for each cell.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    room = get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > _NARROW:
        widths[widths.index(max(widths))] -= 1
    if rows and sum(widths) + 2 * (len(widths) - 1) > room:
        margin = max(map(len, head))
        blocks = ([f"{name:{margin}}  {cell}" for name, cell in zip(head, row, strict=True)] for row in rows)
        return "\n\n".join("\n".join(block) for block in blocks)
    lines = []
    for row in (head, *rows):
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
        if row is not head:
            long = (f"{name}: {cell}" for name, cell, w in zip(head, row, widths, strict=True) if len(cell) > w)
            lines += [fill(text, max(room, 2 * _NARROW), **_BELOW) for text in long]
    return "\n".join(lines)


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"
