"""Every setting in effect with its value (secrets masked) and its origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct
from pydantic import BaseModel, SecretStr

from proxy_core import PluginInfo
from proxy_core.cli.api import DELIMITER, PREFIX, Catalog, LoadedSettings
from proxy_plugin_doctor.toml_key_lines import KeyPath, key_lines

MASK = "********"
_HIDDEN_NAME = re.compile(r"(password|passphrase|secret|token|api_?key|authorization|cookie)", re.IGNORECASE)
_HIDDEN_END = re.compile(r"(^|_|-)key$", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_PLACES = ("tls_key", "ssl_keyfile", "keyfile")


class Value(Struct, frozen=True, kw_only=True):
    """``shown`` is safe to print; ``compared`` is the real value. ``origin`` is ``None`` for a default."""

    key: str
    shown: str
    compared: object
    origin: str | None


class Origins:
    """Finds where a key, or its nearest enclosing table, was set."""

    def __init__(self, loaded: LoadedSettings, catalog: Catalog) -> None:
        self._loaded = loaded
        self._sources = loaded.sources
        self._rotations = catalog.rotations
        self._plugins = catalog.plugins
        self._providers: dict[str, Mapping[KeyPath, str]] = {}

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        if self._sources.file is None:
            return {}
        try:
            return key_lines(self._sources.file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return {}

    def of(self, path: KeyPath) -> str | None:
        """The source that takes precedence among those that set ``path``."""
        return self._nested(path) or self._named(path) or self._in_file(path)

    def _nested(self, path: KeyPath) -> str | None:
        found = (self._sources.nested(path[:length]) for length in range(len(path), 0, -1))
        return next((str(variable) for variable in found if variable is not None), None)

    def _named(self, path: KeyPath) -> str | None:
        found = self._sources.named.origins
        if path[0] == "providers" and len(path) > 2:
            found = {**found, **self._of_provider(path[1])}
        if path[0] == "plugins" and len(path) > 2:
            found = {**found, **self._of_plugin(path[1])}
        return next((found[path[:n]] for n in range(len(path), 0, -1) if path[:n] in found), None)

    def _of_provider(self, name: str) -> Mapping[KeyPath, str]:
        if name not in self._providers:
            self._providers[name] = self._loaded.named_origins(name, self._rotations)
        return self._providers[name]

    def _of_plugin(self, name: str) -> Mapping[KeyPath, str]:
        """What variables under names of their own set in a plugin's table."""
        info = next((plugin.info for plugin in self._plugins if plugin.name == name), None)
        names = info.settings.variables if info is not None and info.settings is not None else {}
        found = {key: next((n for n in of if n in self._sources.variables), None) for key, of in names.items()}
        return {("plugins", name, key): str(self._sources.variables[n]) for key, n in found.items() if n is not None}

    def _in_file(self, path: KeyPath) -> str | None:
        node: Any = self._sources.table
        reached = 0
        for name in path:
            if not isinstance(node, Mapping) or name not in node:
                break
            node, reached = node[name], reached + 1
        if reached == 0 or (reached < len(path) and isinstance(node, Mapping)):
            return None
        line = next((self._lines[path[:n]] for n in range(reached, 0, -1) if path[:n] in self._lines), None)
        return f"{self._sources.file}:{line}" if line else str(self._sources.file)


def effective_values(loaded: LoadedSettings, catalog: Catalog, *, defaults: bool = False) -> list[Value]:
    """All settings that are set; with ``defaults``, all settings. Raises ``SettingsError``."""
    origins = Origins(loaded, catalog)
    found = [v for v in _values(loaded.settings, (), origins) if not v.key.startswith(("providers.", "plugins."))]
    found += _values(
        loaded.settings.plugins, ("plugins",), origins, only=tuple(type(loaded.settings.plugins).model_fields)
    )
    for name in sorted({*loaded.provider_names, *catalog.providers}):
        found += _values(loaded.provider(name, catalog.rotations), ("providers", name), origins)
    for plugin in catalog.plugins:
        found += _of_plugin(loaded, plugin.name, plugin.info if plugin.state == "active" else None, origins)
    return [value for value in found if defaults or value.origin is not None]


def _of_plugin(loaded: LoadedSettings, name: str, info: PluginInfo | None, origins: Origins) -> Iterator[Value]:
    if info is not None and info.settings is not None:
        yield from _values(loaded.plugin(name, info.settings), ("plugins", name), origins)
    elif loaded.sets_up(name):
        yield Value(
            key=f"plugins.{name}",
            shown="(not read: the plugin is not active)",
            compared=None,
            origin=origins.of(("plugins", name)) or f"{PREFIX}PLUGINS{DELIMITER}{name.upper()}{DELIMITER}*",
        )


def _values(value: Any, path: KeyPath, origins: Origins, *, only: Sequence[str] = ()) -> Iterator[Value]:
    """Single values, by their names in the settings file."""
    if isinstance(value, BaseModel):
        items = {name: getattr(value, name) for name in only or type(value).model_fields}
    elif isinstance(value, Mapping) and value:
        items = {name: _set_fields(inner) for name, inner in value.items()}
    elif isinstance(value, list | tuple) and any(isinstance(entry, BaseModel) for entry in value):
        for index, entry in enumerate(value):
            for name, inner in dict(entry).items():
                leaf = (*path[:-1], f"{path[-1]}[{index}]", name)
                if inner is not None:
                    yield _leaf(inner, leaf, origins.of((*path, str(index), name)))
        return
    else:
        yield _leaf(value, path, origins.of(path))
        return
    for name, inner in items.items():
        yield from _values(inner, (*path, str(name)), origins)


def _set_fields(value: Any) -> Any:
    """Of one entry of many, such as a model, only what is said about it."""
    return {name: getattr(value, name) for name in value.model_fields_set} if isinstance(value, BaseModel) else value


def _leaf(value: Any, path: KeyPath, origin: str | None) -> Value:
    hidden = isinstance(value, SecretStr) or (isinstance(value, str) and _hides(path))
    real = value.get_secret_value() if isinstance(value, SecretStr) else value
    shown = MASK if hidden else _shown(value)
    return Value(key=".".join(path), shown=shown, compared=_plain(real), origin=origin)


def _hides(path: KeyPath) -> bool:
    """Whether a name suggests a secret: free-form tables may contain some."""
    name = path[-1]
    return name not in _PLACES and bool(_HIDDEN_NAME.search(name) or _HIDDEN_END.search(name))


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value)


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    text = json.dumps(_plain(value), ensure_ascii=False)
    return _USER_INFO.sub(f"{MASK}@", text)


def stray(loaded: LoadedSettings, catalog: Catalog) -> list[str]:
    """Variables that look like settings but set nothing: misspelled, or legacy names without an effect here."""
    lines = [
        f"{name} sets nothing: no such setting" for name in [*loaded.sources.stray(), *_of_plugins(loaded, catalog)]
    ]
    return lines + loaded.without_effect(catalog.rotations)


def _of_plugins(loaded: LoadedSettings, catalog: Catalog) -> Iterator[str]:
    """Variables with the prefix of an active plugin that match none of its settings."""
    for plugin in catalog.plugins:
        prefix = f"{PREFIX}PLUGINS{DELIMITER}{plugin.name.upper()}{DELIMITER}"
        if plugin.state == "active" and plugin.info is not None:
            known = plugin.info.settings.model_fields if plugin.info.settings else {}
            for name in sorted(loaded.sources.variables):
                key = name.removeprefix(prefix).partition(DELIMITER)[0].lower()
                if name.startswith(prefix) and key not in known:
                    yield name
