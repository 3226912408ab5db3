"""A client's file with new values in it, and everything else as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from proxy_plugin_clients import jsonc
from proxy_plugin_clients.endpoint import Key
from proxy_plugin_clients.program import ConfigFile


def merged(file: ConfigFile, data: bytes) -> bytes:
    """Raises ``ValueError`` if the present content cannot be read, or the key is not known."""
    text = data.decode("utf-8-sig")
    mark, newline = data[: len(data) - len(text.encode())], "\r\n" if "\r\n" in text else "\n"
    result = _MERGES[file.format](text.replace("\r\n", "\n"), file.values)
    return mark + result.replace("\n", newline).encode()


def _toml(text: str, values: Mapping[str, Any]) -> str:
    import tomlkit  # every command of a plugin would wait for it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        _update(document, values)
    except TOMLKitError as error:
        raise ValueError(str(error)) from None
    return tomlkit.dumps(document)


def _update(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        inner = table.get(name)
        if isinstance(value, Mapping) and isinstance(inner, MutableMapping):
            _update(inner, value)
        elif inner != value:
            table[name] = value


def _env(text: str, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        line = f"{name}={_quoted(_clear(value))}"
        text, found = re.subn(rf"^(?:export +)?{name} *=.*$", lambda _: line, text, flags=re.MULTILINE)  # noqa: B023
        if not found:
            text += ("" if not text or text.endswith("\n") else "\n") + line + "\n"
    return text


def _clear(value: str | Key) -> str:
    if not isinstance(value, Key):
        return value
    if value.value is None:
        raise ValueError("the key is not known here: start the proxy once, or give --key-file")
    return value.value.get_secret_value()


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[\w./:@%+,-]*", value) else json.dumps(value)


_MERGES = {"json": jsonc.merged, "toml": _toml, "env": _env}


def example(file: ConfigFile) -> str:
    """The file with nothing else in it. Not for files of variables, which may have a key."""
    return _MERGES[file.format]("", file.values).rstrip("\n")
