"""Reads a folder of Mirrowel's proxy. It writes nothing, and one unreadable file keeps no other from being read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Atom, parse_variables
from dotenv.variables import Variable as Reference
from msgspec import Struct

from proxy_core import Variable, json_object, repr_without
from proxy_core.cli.api import decoded, read_small
from proxy_plugin_mirrowel.importing.rows import Row

#: A usage file has some kilobytes for each model of each key.
_MOST_BYTES = 64_000_000
_LAUNCHER = "launcher_config.json"
_WITHOUT_MEANING = {
    "quota_viewer_config.json": "the quota viewer's own; `proxy-core usage` and `proxy-core why` show the same",
    "logs": "old logs are not read; they may contain keys in plain text",
    "cache": "the old proxy's caches",
}


class OldFolder(Struct, frozen=True, kw_only=True):
    """``variables`` by name, in capitals, with ``places`` to show (``.env:12 NAME``).

    ``logins`` are files, ``usage`` and ``launcher`` JSON objects. ``rows``: what could not be read or counts twice.
    """

    __repr__ = repr_without("variables", "usage")

    path: Path
    variables: Mapping[str, Variable]
    places: Mapping[str, str]
    logins: Sequence[Path]
    usage: Mapping[Path, Mapping[str, Any]]
    launcher: Mapping[str, Any] | None
    rows: Sequence[Row]

    @property
    def is_empty(self) -> bool:
        unread = any(row.verdict == "differs" for row in self.rows)
        return not (self.variables or self.logins or self.usage or self.launcher or unread)

    def name(self, path: Path) -> str:
        """A path as the table shows it."""
        return str(path.relative_to(self.path)) if path.is_relative_to(self.path) else str(path)


def read_folder(path: Path) -> OldFolder:
    rows: list[Row] = []
    variables, places = _variables(path, rows)
    inside = {name: _listed(path / name, rows) for name in ("oauth_creds", "usage")}
    loose = [path / name for name in ("key_usage.json", "usage.json") if os.path.lexists(path / name)]
    files = [*(file for file in inside["usage"] if file.suffix == ".json"), *loose]
    usage = {file: data for file in files if (data := _json(path, file, rows)) is not None}
    launcher = path / _LAUNCHER
    rows += [
        Row(what=name, verdict="no meaning here", note=why)
        for name, why in _WITHOUT_MEANING.items()
        if os.path.lexists(path / name)
    ]
    note = "not a login that the old proxy used: it read only .json files there"
    others = [file for file in inside["oauth_creds"] if file.suffix != ".json"]
    rows += [Row(what=f"oauth_creds/{file.name}", verdict="no meaning here", note=note) for file in others]
    return OldFolder(
        path=path,
        variables=variables,
        places=places,
        logins=[file for file in inside["oauth_creds"] if file.suffix == ".json"],
        usage=usage,
        launcher=_json(path, launcher, rows) if os.path.lexists(launcher) else None,
        rows=rows,
    )


def _listed(folder: Path, rows: list[Row]) -> list[Path]:
    """What is in it; nothing if there is no such folder."""
    try:
        return sorted(folder.iterdir()) if os.path.lexists(folder) else []
    except OSError as error:
        rows.append(Row(what=folder.name, verdict="differs", note=f"it cannot be read: {error.strerror}"))
        return []


def _json(folder: Path, file: Path, rows: list[Row]) -> Mapping[str, Any] | None:
    what = str(file.relative_to(folder))
    try:
        return json_object(read_small(file, _MOST_BYTES))
    except OSError as error:
        rows.append(Row(what=what, verdict="differs", note=f"it cannot be read: {error.strerror}"))
    except ValueError as error:
        rows.append(Row(what=what, verdict="differs", note=f"left out: {error}"))
    return None


# --- Variables ---------------------------------------------------------------------------


def _variables(path: Path, rows: list[Row]) -> tuple[dict[str, Variable], dict[str, str]]:
    """Of two files that set a variable, the first one counts: ``.env``, then the others by name."""
    found: dict[str, Variable] = {}
    places: dict[str, str] = {}
    others = sorted(file for file in path.glob("*.env") if file.name != ".env")
    for file in (path / ".env", *others):
        if not file.exists() and not file.is_symlink():
            continue
        for variable, place in _of_file(file, rows):
            if variable.name in found:
                note = f"{places[variable.name]} comes first"
                rows.append(Row(what=place, verdict="no meaning here", note=note))
            else:
                found[variable.name], places[variable.name] = variable, place
    return found, places


def _of_file(file: Path, rows: list[Row]) -> list[tuple[Variable, str]]:
    """Each with its place. Within a file, the last line for a variable counts."""
    try:
        text = decoded(read_small(file)).replace("\r\n", "\n")
    except OSError as error:
        rows.append(Row(what=file.name, verdict="differs", note=f"it cannot be read: {error.strerror}"))
        return []
    except UnicodeDecodeError:
        rows.append(Row(what=file.name, verdict="differs", note="it is neither UTF-8 nor UTF-16"))
        return []
    bindings = list(parse_stream(StringIO(text)))
    values = _values(bindings)
    lines: dict[str, int] = {}
    for binding in bindings:
        line, key = binding.original.line + _empty_lines(binding.original.string), binding.key
        if binding.error:
            rows.append(Row(what=f"{file.name}:{line}", verdict="no meaning here", note="it is not NAME=value"))
        elif key is not None:
            if key in lines:
                note = f"line {line} sets it again"
                rows.append(Row(what=f"{file.name}:{lines[key]} {key}", verdict="no meaning here", note=note))
            lines[key] = line
    return [(Variable(key.upper(), values[key], file), f"{file.name}:{line} {key}") for key, line in lines.items()]


def _values(bindings: Sequence[Binding]) -> dict[str, str]:
    """With ``${NAME}`` filled in from earlier lines; not from the environment, which is no part of the folder."""
    values: dict[str, str] = {}
    for one in bindings:
        if one.key is not None:
            values[one.key] = "".join(_filled(atom, values) for atom in parse_variables(one.value or ""))
    return values


def _filled(atom: Atom, values: Mapping[str, str]) -> str:
    if isinstance(atom, Reference):
        known = values.get(atom.name, atom.default)
        return f"${{{atom.name}}}" if known is None else known
    return atom.resolve({})


def _empty_lines(text: str) -> int:
    """How many of them a binding begins with."""
    return text[: len(text) - len(text.lstrip())].count("\n")
