"""Adds tables to a settings file, line by line: what is there stays as it is, byte for byte."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryDirectory
from typing import Any

import click

from proxy_core.cli.api import LoadedSettings, private_folder, read_small, user_file, write_private

_HEAD = """\
# Settings of proxy-core: https://github.com/proxy-core/proxy-core/blob/main/docs/settings.md describes all of them,
# `proxy-core config check` finds mistakes. A running proxy reads this file again after `proxy-core reload`.

# Without a client here, the first start generates one key, in client.key in the data folder.
# [clients.laptop]
# key = "a-long-random-string"

# Keys and logins of providers are not in this file, but in the data folder: `proxy-core credentials list`.
# Variables such as GROQ_API_KEY work, too.
"""
_TITLES = {"models": "# Names of your own for clients to request; several models are tried in order.\n"}
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

#: ``{("providers", "home"): {"base_url": "…"}}``
Tables = Mapping[tuple[str, ...], Mapping[str, Any]]


@contextmanager
def existing(config: Path | None) -> Iterator[Path | None]:
    """``config``, or an empty file in its place while it does not exist yet."""
    if config is None or config.exists():
        yield config
        return
    with TemporaryDirectory() as folder:
        empty = Path(folder) / config.name
        empty.touch()
        yield empty


def target_of(config: Path | None, loaded: LoadedSettings) -> Path:
    """Where settings belong: in the file that is in use, or in the user's folder."""
    return config or loaded.sources.file or user_file()


def lines_of(tables: Tables) -> str:
    """The tables as TOML."""
    return "\n".join(_table(path, values) for path, values in tables.items())


def _table(path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    head = f"{_TITLES.get(path[0], '')}[{'.'.join(map(_key, path))}]\n"
    return head + "".join(_line(key, value) for key, value in values.items())


def _line(key: str, value: Any) -> str:
    return f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def add(file: Path, tables: Tables) -> bool:
    """Add what is not there yet; whether that was anything. Raises ``ClickException`` with the lines to add by hand."""
    try:
        path = file.resolve()
        before = read_small(path) if path.exists() else b""
        text = before.decode()
        after = with_tables(text, tables)
        if after == text:
            return False
        private_folder(path.parent)
        if (read_small(path) if path.exists() else b"") != before:
            raise ValueError("it was changed in the meantime: run this again")
        write_private(path, after.encode(), S_IMODE(path.stat().st_mode) if path.exists() else 0o600)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else _words(error)
        raise click.ClickException(
            f"{file} was left as it is: {why}. Nothing was saved. To add by hand:\n\n{lines_of(tables)}"
        ) from None
    click.echo(f"{'changed' if before else 'wrote'} {file}")
    return True


def _words(error: ValueError) -> str:
    return "it is not a text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def with_tables(text: str, tables: Tables) -> str:
    """``text`` with the values that it lacks. Raises ``ValueError`` if that cannot be done by adding lines."""
    before = _parsed(text)
    wanted = _parsed(text)
    after = text if text.strip("\ufeff \t\r\n") else text + _HEAD
    for path, values in tables.items():
        there, node = _at(before, path), wanted
        for key in path:
            node = node.setdefault(key, {})
        new = {key: value for key, value in values.items() if key not in node}
        node.update(new)
        if there is None:
            after = _at_end(after, path, new)
        elif new:
            after = _below_head(after, path, new)
    after = after.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else after
    if not _means(after, wanted):
        raise ValueError("lines cannot simply be added to it")
    return after


def _means(text: str, wanted: Mapping[str, Any]) -> bool:
    with suppress(tomllib.TOMLDecodeError):
        return _parsed(text) == wanted
    return False


def _parsed(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix("\ufeff"))


def _at(table: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The table at ``path``; ``None`` if there is none. Raises ``ValueError`` if something else is there."""
    node: Any = table
    for key in path:
        node = node.get(key)
        if node is None:
            return None
        if not isinstance(node, Mapping):
            raise ValueError(f"{'.'.join(path)} is not a table")
    return node


def _at_end(text: str, path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    return text + ("" if text.endswith("\n") else "\n") + "\n" + _table(path, values)


def _below_head(text: str, path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """Where there is no head of this table alone, it gets one. The caller sees whether that is what was wanted."""
    name = r"[ \t]*[.][ \t]*".join(re.escape(_key(key)) for key in path)
    found = re.search(rf"^[ \t]*\[[ \t]*{name}[ \t]*\][^\n]*\n?", text, re.MULTILINE)
    if found is None:
        return _at_end(text, path, values)
    lines = "".join(_line(key, value) for key, value in values.items())
    return text[: found.end()] + ("" if found[0].endswith("\n") else "\n") + lines + text[found.end() :]
