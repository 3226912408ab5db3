"""What commands share: options for settings, tables, plugins' own commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from proxy_core.errors import PluginError
from proxy_core.plugins.loader import load_plugins
from proxy_core.settings.loading import LoadedSettings, load

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(command: F) -> F:
    """``--config`` and ``--disable-plugin``, which every command that reads settings has."""
    config = click.option(
        "--config", type=click.Path(path_type=Path), help="Settings file; else ./proxy-core.toml, else the user's."
    )
    disable_plugin = click.option(
        "--disable-plugin", multiple=True, metavar="NAME", help="Do not import this plugin; repeatable."
    )
    return config(disable_plugin(command))


def plugin_overrides(disable_plugin: Sequence[str], config: Path | None) -> dict[str, Any]:
    """``--disable-plugin`` adds to what settings disable already."""
    if not disable_plugin:
        return {}
    disabled = load(config).settings.plugins.disabled
    return {"plugins": {"disabled": [*disabled, *disable_plugin]}}


def read_settings(config: Path | None, disable_plugin: Sequence[str]) -> LoadedSettings:
    return load(config, overrides=plugin_overrides(disable_plugin, config))


def plugin_commands() -> dict[str, click.Command]:
    """Commands that plugins bring. Raises ``PluginError`` if two have one name."""
    found: dict[str, click.Command] = {}
    for plugin in load_plugins(load(), only=("proxy_cli_commands",)):
        for command in plugin.brought.get("proxy_cli_commands", ()):
            name = command.name or ""
            if name in found:
                raise PluginError(plugin.name, f"a command named {name!r} already exists")
            found[name] = command
    return found


def printable(text: str) -> str:
    """On one line, and nothing a terminal would obey: upstreams and clients choose words that are shown."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one runs free."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
