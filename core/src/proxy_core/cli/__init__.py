"""The command line. Commands are imported only when used; built-in commands take precedence over plugins'."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from proxy_core.errors import SetupError

_BUILT_IN = (
    "serve",
    "plugins",
    "models",
    "reload",
)

#: What people look for here, and the plugin that has it.
_FIRST_PARTY = {
    **dict.fromkeys(("login", "credentials"), "accounts"),
    **dict.fromkeys(("config", "cooldown", "doctor", "explain", "usage", "why"), "doctor"),
}


class Commands(click.Group):
    """Built-in commands by module name, then the commands of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_BUILT_IN, *_plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _BUILT_IN:
            command: click.Command = import_module(f"proxy_core.cli.{cmd_name}").command
            return command
        plugin = _FIRST_PARTY.get(cmd_name)
        found = _plugin_commands(plugin).get(cmd_name)
        if found is None and plugin is not None:
            package = f"proxy-plugin-{plugin}"
            raise click.UsageError(f"{cmd_name} is a command of {package}: `pip install {package}`, or enable it")
        return found


def _plugin_commands(at_least: str | None = None) -> dict[str, click.Command]:
    from proxy_core.cli.common import plugin_commands

    return plugin_commands(at_least)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="proxy-core", prog_name="proxy-core")
def cli() -> None:
    """One endpoint for all your LLM accounts, in the dialects that your clients speak."""


def main() -> None:
    """The program ``proxy-core``. Errors for the operator are printed as plain lines, without a traceback."""
    try:
        cli()
    except SetupError as error:
        for line in str(error).splitlines():
            click.echo(f"proxy-core: {line}", err=True)
        sys.exit(2)
