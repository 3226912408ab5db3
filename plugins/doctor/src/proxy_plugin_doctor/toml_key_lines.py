"""Finds the line number of each key in a settings file, which ``tomllib`` does not report."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

KeyPath = tuple[str, ...]

_HEADER = re.compile(r"\s*(\[+[^\]]+\]+)\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line numbers, from 1, of tables and of keys at the beginning of a line. Keys inside inline values have none."""
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if header := _HEADER.match(line):
            table = _path(header[1]) or table
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_path(f"{key[1]} = 0")), number)
        inside = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")
    return found


def _path(toml: str) -> KeyPath:
    """The names in a header or key, as ``tomllib`` reads them."""
    try:
        node: object = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return ()
    path = []
    while isinstance(node, Mapping | list) and node:
        if isinstance(node, list):
            node = node[0]
            continue
        name = next(iter(node))
        path.append(str(name))
        node = node[name]
    return tuple(path)
