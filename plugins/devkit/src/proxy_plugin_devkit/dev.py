"""``proxy-core dev``: the proxy with plugins that are single files, started again when one changes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from proxy_core.cli.api import printable
from proxy_plugin_devkit.single_files import note_folder, single_files, write_entry_points

#: The open requests of a proxy that is started again get so long to end.
_GRACE_S = 2


@click.command("dev", context_settings={"ignore_unknown_options": True})
@click.option(
    "--plugins-dir",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Each *.py file in this folder is a plugin.",
)
@click.option("--trace", is_flag=True, help="Log each call of a plugin: how long it took, and what it changed.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(plugins_dir: Path, trace: bool, arguments: tuple[str, ...]) -> None:
    """Run the proxy with the plugins in a folder, and start it again when one of them changes.

    ARGUMENTS are options of serve, or another command of proxy-core, which runs once with these plugins.
    """
    with TemporaryDirectory(prefix="proxy-core-dev-") as site:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
        _prepare(plugins_dir, Path(site))
        note_folder(plugins_dir, Path(site))
        if not arguments or arguments[0].startswith("-"):
            arguments = ("serve", *arguments)
        if arguments[0] != "serve":
            raise SystemExit(subprocess.run(_program(arguments)).returncode)  # noqa: S603  # it is this program
        _serve(plugins_dir, Path(site), [*arguments, *(("--log-level", "debug") if trace else ())])


def _program(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "proxy_core", *arguments]


def _prepare(folder: Path, site: Path) -> None:
    plugins = single_files(folder)
    write_entry_points(plugins, site)
    names = ", ".join(f"{plugin.name} ({plugin.file.name})" for plugin in plugins)
    click.echo(f"plugins in {folder}: {printable(names) or 'none yet; each *.py file is one'}", err=True)


def _serve(folder: Path, site: Path, arguments: Sequence[str]) -> None:
    from watchfiles import PythonFilter, run_process

    def changed(changes: set[tuple[object, str]]) -> None:
        names = ", ".join(sorted({Path(path).name for _, path in changes}))
        click.echo(f"changed: {printable(names)}; starting again", err=True)
        _prepare(folder, site)

    os.environ.setdefault("PROXY_SERVER__SHUTDOWN_GRACE_S", str(_GRACE_S))
    run_process(
        folder,
        target=shlex.join(_program(arguments)),
        target_type="command",
        watch_filter=PythonFilter(),
        callback=changed,  # type: ignore[arg-type]  # it takes any set of pairs
        sigint_timeout=_GRACE_S + 3,
    )
