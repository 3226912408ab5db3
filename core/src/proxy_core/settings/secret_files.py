"""Secrets in files of their own, so that neither the environment nor the settings file holds them.

Variables name such a file with ``_FILE`` behind the name of the secret's variable, settings with ``_file`` behind the
secret's key. ``PROXY_SECRETS_DIR`` is a folder in which every file stands for the variable that it is named after.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

from msgspec import Struct, field
from pydantic import BaseModel, SecretStr

from proxy_core.files import read_small
from proxy_core.settings.pasted import decoded
from proxy_core.settings.rotation import KeySettings
from proxy_core.settings.schema import ProxySettings
from proxy_core.settings.sources import Variable, Variables
from proxy_core.settings.tables import DELIMITER, PREFIX
from proxy_core.settings.variables import SECRETS_DIR, is_key_variable

SUFFIX = "_FILE"


class Named(Struct, frozen=True, kw_only=True):
    """Who names files of secrets: a settings file or a ``.env``, or else (``None``) the environment.

    ``found``: it was merely found in the working directory, so it may name only files in its own folder. Otherwise a
    downloaded folder could send any file of its reader's to its author, as a key.
    """

    file: Path | None = None
    found: bool = False
    #: What to say about the files that were read.
    notes: list[str] = field(default_factory=list)

    def lines(self, name: str) -> list[str]:
        """The lines of a file that it names. Raises ``ValueError`` that says why there are none."""
        path = self.path(name)
        lines = lines_of(path)
        self.notes.extend(_openness(path))
        return lines

    def path(self, name: str) -> Path:
        """Relative to the file that names it. Raises ``ValueError`` if it may not be named there."""
        path = Path(name).expanduser()
        if self.file is None:
            return path
        folder = self.file.parent
        if self.found and not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{self.file} was only found in the working directory, so it may name no file outside that folder; "
                "name a settings file in it with --config, or the file with the secret in the environment"
            )
        return folder / path


def lines_of(path: Path) -> list[str]:
    """The lines of a file of secrets, without comments. Raises ``ValueError`` that says why there are none."""
    try:
        lines = [line for text in decoded(read_small(path)).splitlines() if (line := text.strip())]
    except UnicodeDecodeError:
        raise ValueError(f"{path} is neither UTF-8 nor UTF-16") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    secrets = [line for line in lines if not line.startswith("#")]
    if not secrets:
        raise ValueError(f"{path} has only comments" if lines else f"{path} is empty")
    return secrets


def _openness(path: Path) -> Iterator[str]:
    with suppress(OSError):
        if hasattr(os, "getuid") and path.stat().st_mode & 0o077:
            yield f"other users may read {path}, which holds a secret: chmod 600 {path}"


# --- In variables ------------------------------------------------------------------------


def with_secrets(
    layers: Sequence[Variables], folder: str | None, found: Collection[Path], problems: list[str]
) -> list[Variables]:
    """The layers, each with the secrets that it names a file for; the folder of secrets comes below the environment.

    Adds to ``problems`` if a variable of the proxy's own or a file in the folder cannot be used. A file for
    another program's key is a problem only where the key is used.
    """
    *below, environment = [_with_files(layer, found, problems) for layer in layers]
    return [*below, *([_in_folder(Path(folder), problems)] if folder else []), environment]


def _with_files(layer: Variables, found: Collection[Path], problems: list[str]) -> Variables:
    names = {name.removesuffix(SUFFIX): v for name, v in layer.items() if name.endswith(SUFFIX) and v.value}
    named = {name: variable for name, variable in names.items() if _is_secret(name)}
    if not named:
        return layer
    read = {name: _read(name, variable, found) for name, variable in named.items()}
    problems += [f"{name} and {name}{SUFFIX} are both set" for name in named if name in layer and layer[name].value]
    own = {name: v for name, v in read.items() if v.problem and name.startswith(PREFIX)}
    problems += [v.problem for v in own.values()]
    return {name: v for name, v in layer.items() if name.removesuffix(SUFFIX) not in named} | {
        name: v for name, v in read.items() if name not in own
    }


def _read(name: str, variable: Variable, found: Collection[Path]) -> Variable:
    by = Named(file=variable.file, found=variable.file in found)
    try:
        value = "\n".join(by.lines(variable.value))
        return Variable(name, value, variable.file, secret=by.path(variable.value), notes=by.notes)
    except ValueError as error:
        return Variable(name, "", variable.file, problem=f"{name}{SUFFIX}: {error}")


def _in_folder(folder: Path, problems: list[str]) -> Variables:
    try:
        # Kubernetes keeps the versions of its secrets in hidden folders.
        files = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".") and _is_meant(file)]
    except OSError as error:
        problems.append(f"{SECRETS_DIR}: {folder} cannot be read: {error.strerror}")
        return {}
    read: dict[str, Variable] = {}
    for file in files:
        try:
            name = file.name.upper()
            read[name] = Variable(name, "\n".join(lines_of(file)), secret=file)
        except ValueError as error:
            problems.append(f"{SECRETS_DIR}: {error}")
    return read


def _is_meant(entry: Path) -> bool:
    """Whether it is a file, or was to be one: a link to nothing, or a folder under the name of a secret, which is what
    a container gets where the file to mount is absent."""
    return os.path.isfile(entry) or not os.path.exists(entry) or _is_secret(entry.name.upper())


def _is_secret(name: str) -> bool:
    """Whether a variable of this name holds one: a key, or a setting of the proxy that is secret."""
    path = name.removeprefix(PREFIX).lower().split(DELIMITER)
    return is_key_variable(name) or (name.startswith(PREFIX) and _leads_to_secret(ProxySettings, path))


def _leads_to_secret(cls: type[BaseModel], path: Sequence[str]) -> bool:
    known = cls.model_fields.get(path[0]) if path else None
    if known is None:
        return False
    if len(path) == 1:
        return _is_secret_type(known.annotation)
    inner = path[2:] if dict in _types(known.annotation) else path[1:]
    return any(_leads_to_secret(table, inner) for table in _tables(known.annotation))


# --- In settings files -------------------------------------------------------------------


def secrets_read(
    cls: type[BaseModel], table: Mapping[str, Any], by: Named, at: str, problems: list[str]
) -> dict[str, Any]:
    """The table, with each secret that it names a file for. Adds to ``problems``."""
    read: dict[str, Any] = {}
    for key, value in table.items():
        secret = key.removesuffix(SUFFIX.lower())
        known = cls.model_fields.get(key) or cls.model_fields.get(secret)
        if known is None:
            read[key] = value
        elif key in cls.model_fields:
            read[key] = _below(known.annotation, value, by, f"{at}{key}", problems)
        elif not _is_secret_type(known.annotation):
            read[key] = value
        elif secret in table:
            problems.append(f"{at}{secret} and {at}{key} are both set ({by.file})")
        else:
            try:
                read[secret] = _value(value, by, many=list in _types(known.annotation))
            except ValueError as error:
                problems.append(f"{at}{key}: {error}")
    return read


def _below(annotation: object, value: Any, by: Named, at: str, problems: list[str]) -> Any:
    """``value`` with the tables in it read, each by its class."""
    cls = next(iter(_tables(annotation)), None)
    if cls is None:
        return value

    def inner(one: Any, at: str) -> Any:
        return secrets_read(cls, one, by, f"{at}.", problems) if isinstance(one, Mapping) else one

    if isinstance(value, list):
        return [inner(one, f"{at}[{number}]") for number, one in enumerate(value)]
    if isinstance(value, Mapping) and dict in _types(annotation):
        return {name: inner(one, f"{at}.{name}") for name, one in value.items()}
    return inner(value, at)


def _value(named: Any, by: Named, *, many: bool) -> Any:
    """A secret; of a list all of them, from one file or several; of a table one from each file."""
    if isinstance(named, Mapping):
        return {name: _value(one, by, many=False) for name, one in named.items()}
    names = named if many and isinstance(named, list) else [named]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError("this is the name of a file")
    lines = [line for name in names for line in by.lines(name)]
    return lines if many else "\n".join(lines)


# --- What can be a secret ----------------------------------------------------------------


def _types(annotation: object) -> Iterator[object]:
    """All types in an annotation, and what they are made of: of ``list[Key] | None`` also ``list``."""
    yield get_origin(annotation) or annotation
    for part in get_args(annotation):
        yield from _types(part)


def _tables(annotation: object) -> Iterator[type[BaseModel]]:
    return (found for found in _types(annotation) if isinstance(found, type) and issubclass(found, BaseModel))


def _is_secret_type(annotation: object) -> bool:
    found = set(map(id, _types(annotation)))
    return id(SecretStr) in found or id(KeySettings) in found
