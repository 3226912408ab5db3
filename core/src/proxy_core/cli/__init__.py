"""The command line: ``serve``, and the commands of plugins. They are imported only when used."""

from __future__ import annotations

import gc
import logging
import sys
import traceback

import click

from proxy_core.errors import SetupError

#: First-party plugins with commands, which people look for whether they are installed or not.
_FIRST_PARTY = {
    "accounts": "credentials init login providers",
    "clients": "client-key setup",
    "devkit": "bench capture dev faults plugin replay",
    "doctor": "config cooldown doctor explain models plugins reload usage why",
}
#: Groups to which any plugin may add a command.
_OPEN_GROUPS = ("import",)


class Commands(click.Group):
    """The command ``serve``, then the commands of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({"serve", *_plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "serve":
            from proxy_core.cli import serve

            return serve.command
        plugin = _first_party(cmd_name)
        found = _plugin_commands(plugin).get(cmd_name) if cmd_name not in _OPEN_GROUPS else _of_all(plugin, cmd_name)
        if found is None and plugin is not None:
            package, advice = f"proxy-plugin-{plugin}", f"add {plugin} to [plugins] allowed, or remove it from disabled"
            raise click.UsageError(
                f"{cmd_name} is a command of {package}: `pip install {package}`; if it is installed, {advice}"
            )
        return found


def _first_party(command: str) -> str | None:
    if command in _OPEN_GROUPS:
        from proxy_core.settings.loading import REPLACED

        return REPLACED
    return next((name for name, commands in _FIRST_PARTY.items() if command in commands.split()), None)


def _of_all(plugin: str | None, name: str) -> click.Command | None:
    try:
        return _plugin_commands().get(name)
    except SetupError:  # settings are wrong: of the first-party plugin alone
        return _plugin_commands(plugin).get(name)


def _plugin_commands(only: str | None = None) -> dict[str, click.Command]:
    from proxy_core.cli.common import plugin_commands

    return plugin_commands(only)


_MORE = "Plugins add commands: proxy-plugin-doctor the operator's, proxy-plugin-accounts those about logins and keys."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_MORE)
@click.version_option(package_name="proxy-core", prog_name="proxy-core")
def cli() -> None:
    """One endpoint for all your LLM accounts, in the dialects that your clients speak."""


class _Lines(logging.Handler):
    """What commands other than ``serve`` log. An exception is shown by its type: its message may hold a secret."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"proxy-core: {record.getMessage()}", err=True)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            frames = "".join(traceback.format_tb(error.__traceback__))
            click.echo(f"{frames}{type(error).__name__}", err=True)


def main() -> None:
    """The program ``proxy-core``. Errors for the operator are printed as plain lines, without a traceback.

    What is imported stays, so looking for garbage meanwhile would only delay the start; the server resumes it.
    """
    gc.disable()
    logging.lastResort = _Lines(logging.WARNING)
    try:
        cli()
    except SetupError as error:
        if error.__cause__ is not None:  # an exception of a plugin; its message is in the error, without secrets
            click.echo("".join(traceback.format_tb(error.__cause__.__traceback__)).rstrip(), err=True)
        for line in str(error).splitlines():
            click.echo(f"proxy-core: {line}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"proxy-core: {error.filename}: {error.strerror}", err=True)  # no traceback: the user can mend it
        sys.exit(2)
