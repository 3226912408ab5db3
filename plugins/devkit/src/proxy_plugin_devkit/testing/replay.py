"""``proxy-core replay``: a captured request, offline, through the plugins as they are now."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from proxy_core.cli.api import load
from proxy_plugin_devkit.single_files import noted_folder

if TYPE_CHECKING:
    from proxy_core.testing.captures import Capture

_TEST = '''\
"""A captured request is sent and answered as it was: see {name}."""

from pathlib import Path

from proxy_core.testing.replays import replay_differences

CAPTURE = Path(__file__).with_name({name!r})


async def test_{word}_is_sent_and_answered_as_captured(tmp_path):
    lines = await replay_differences(CAPTURE, folder=tmp_path)

    assert not lines, "\\n".join(lines)
'''
#: The same with the plugins in a folder, as ``proxy-core dev`` loads them.
_TEST_OF_FILES = '''\
"""A captured request is sent and answered as it was: see {name}."""

from pathlib import Path

from proxy_core.testing.replays import replay_differences
from proxy_plugin_devkit.single_files import single_files, write_entry_points

CAPTURE = Path(__file__).with_name({name!r})
PLUGINS = Path(__file__).parent / {plugins!r}


async def test_{word}_is_sent_and_answered_as_captured(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    write_entry_points(single_files(PLUGINS.resolve()), site)
    monkeypatch.syspath_prepend(str(site))

    lines = await replay_differences(CAPTURE, folder=tmp_path)

    assert not lines, "\\n".join(lines)
'''


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; by default the one of `serve`.")
@click.option("--test", "tests", type=click.Path(path_type=Path), help="Turn the capture into a test in this folder.")
def command(file: Path, config: Path | None, tests: Path | None) -> None:
    """Run the captured request in FILE again with the current plugins and settings, and show what is different.

    Nothing leaves the machine: the upstreams answer as they did. The exit code is 1 if there is a difference.
    """
    from proxy_core.testing.captures import read_capture
    from proxy_core.testing.replays import differences, replay_tables, replayed, write_logins

    capture = read_capture(file)
    with TemporaryDirectory(prefix="proxy-core-replay-") as folder:
        environ = {**os.environ, "PROXY_DATA_DIR": folder}
        write_logins(capture, Path(folder))
        loaded = load(config, overrides=replay_tables(capture), environ=environ)
        new = asyncio.run(replayed(capture, loaded))
    lines = differences(capture, new)
    click.echo("\n".join(map(_shown, lines)) or f"no difference: {len(new.exchanges)} sent, answered {new.status}")
    if tests is not None:
        click.echo(f"wrote {_write_test(file, capture, tests)}")
    if lines:
        raise SystemExit(1)


def _shown(line: str) -> str:
    """With its indentation, but without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _write_test(file: Path, capture: Capture, folder: Path) -> Path:
    """A test module, and beside it the capture."""
    folder.mkdir(parents=True, exist_ok=True)
    word = re.sub(r"\W+", "_", file.stem).strip("_").lower()
    kept = folder / f"{word}.capture.json"
    kept.write_bytes(file.read_bytes())
    test = folder / f"test_{word}.py"
    plugins = noted_folder()
    template = _TEST if plugins is None else _TEST_OF_FILES
    place = os.path.relpath(plugins, folder.absolute()) if plugins is not None else ""
    test.write_text(template.format(name=kept.name, word=word, plugins=place), encoding="utf-8")
    return test
