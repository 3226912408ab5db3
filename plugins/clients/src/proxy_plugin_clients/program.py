"""What ``setup`` knows about one client, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from proxy_plugin_clients.endpoint import Endpoint, Key

Format = Literal["json", "toml", "env", "yaml"]
Extra = Literal["comments", "trailing commas"]
#: The names that lead to a value in a file.
Member = tuple[str, ...]


class ConfigFile(Struct, frozen=True, kw_only=True):
    """A file that a client reads, and what has to be in it; whatever else is there stays.

    ``removes`` are members that would win over ``values`` or contradict them. ``keeps`` are members that stay although
    the client goes by them, above all models: they are reported. ``defaults`` are values that are set only if none of
    the client's files names a model to keep.

    ``extras`` is what the client reads in JSON beyond the standard.

    Only in a file of variables (``env``) may a value be a :class:`Key`: the key in clear, for a client that offers no
    other way. Such a file becomes readable by its owner alone.
    """

    path: Path
    format: Literal["json", "toml", "env"]
    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = {}
    removes: Sequence[Member] = ()
    keeps: Sequence[Member] = ()
    extras: Sequence[Extra] = ()

    @property
    def has_key(self) -> bool:
        return any(isinstance(value, Key) for value in self.values.values())


class Rival(Struct, frozen=True, kw_only=True):
    """A file that a client prefers to its own: what it sets of ``members`` wins. ``instead``: its own is not read."""

    path: Path
    format: Format
    members: Sequence[Member] = ()
    instead: bool = False


class Configuration(Struct, frozen=True, kw_only=True):
    """``variables`` are for the shell that starts the client, ``code`` for the program that uses a library.

    ``requests`` are the models that the client will ask for, and ``default`` is one for a client whose files name none.
    ``preferred`` are variables of the shell that win over the files, and ``rivals`` other files that do.
    With another value of one of ``needed`` in any of these files the client does not start. ``notes`` are for the user.
    """

    files: Sequence[ConfigFile] = ()
    variables: Mapping[str, str | Key] = {}
    code: str = ""
    run: str = ""
    requests: Sequence[str] = ()
    default: str = ""
    preferred: Sequence[str] = ()
    rivals: Sequence[Rival] = ()
    needed: Mapping[Member, str] = {}
    notes: Sequence[str] = ()


class ClientProgram(Struct, frozen=True, kw_only=True):
    """``pattern`` covers the names of models that the client asks for by itself, ``aliases`` are its words for them.
    ``prefix`` is what its files have before a model of the proxy, and not before others.

    ``source``: where all this is from.
    """

    name: str
    title: str
    dialect: str
    configure: Callable[[Endpoint], Configuration]
    source: str
    pattern: str = ""
    prefix: str = ""
    aliases: Sequence[str] = ()
