"""What ``setup`` knows about one client, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from proxy_plugin_clients.endpoint import Endpoint, Key


class ConfigFile(Struct, frozen=True, kw_only=True):
    """A file that a client reads, and what has to be in it; whatever else is there stays.

    Only in a file of variables (``env``) may a value be a :class:`Key`: the key in clear, for a client that offers no
    other way. Such a file becomes readable by its owner alone.
    """

    path: Path
    format: Literal["json", "toml", "env"]
    values: Mapping[str, Any]

    @property
    def has_key(self) -> bool:
        return any(isinstance(value, Key) for value in self.values.values())


class Configuration(Struct, frozen=True, kw_only=True):
    """``variables`` are for the shell that starts the client, ``code`` for the program that uses a library.

    ``requests`` are the models that the client will ask for.
    """

    files: Sequence[ConfigFile] = ()
    variables: Mapping[str, str | Key] = {}
    code: str = ""
    run: str = ""
    requests: Sequence[str] = ()


class ClientProgram(Struct, frozen=True, kw_only=True):
    """``pattern`` covers the names of models that the client asks for by itself. ``source``: where all this is from."""

    name: str
    title: str
    dialect: str
    configure: Callable[[Endpoint], Configuration]
    source: str
    pattern: str = ""
    notes: Sequence[str] = ()
