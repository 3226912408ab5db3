"""Adds settings to a settings file. What is there already stays, in its place and with its comments."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from proxy_plugin_mirrowel.importing.settings import KeyPath, Setting

_HEAD = "# From a folder of Mirrowel's LLM-API-Key-Proxy, by `proxy-core import mirrowel`.\n\n"


def present(table: Mapping[str, Any], path: KeyPath) -> Any:
    """The value at ``path``; ``None`` if there is none."""
    node: Any = table
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def tree_of(settings: Sequence[Setting]) -> dict[str, Any]:
    """Their values, in tables within tables."""
    tree: dict[str, Any] = {}
    for setting in settings:
        node = tree
        for key in setting.path[:-1]:
            node = node.setdefault(key, {})
        node[setting.path[-1]] = setting.value
    return tree


def with_settings(text: str, settings: Sequence[Setting]) -> str:
    """Raises ``ValueError`` if the file is not TOML, or has a value where a table belongs."""
    import tomlkit  # every command of a plugin would wait for it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text or _HEAD)
        _merge(document, tree_of(settings))
        written = tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise ValueError(str(error)) from None
    return written.replace("\r\n", "\n").replace("\n", "\r\n") if "\r\n" in text else written


def _merge(table: MutableMapping[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        inner = table.get(key)
        if isinstance(value, Mapping) and isinstance(inner, MutableMapping):
            _merge(inner, value)
        elif isinstance(value, Mapping) and inner is not None:
            raise TypeError(f"{key} is not a table")
        else:
            table[key] = value
