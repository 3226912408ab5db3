"""A client's file with new values in it, and everything else as it was."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from proxy_plugin_clients import jsonc
from proxy_plugin_clients.endpoint import Key
from proxy_plugin_clients.program import ConfigFile, Format, Member

#: Of a variable: its name, and its value, which may go over several lines in quotes.
_VARIABLE = r"""^[ \t]*(?:export[ \t]+)?({})[ \t]*(?:=|:[ \t])[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`|)([^\r\n]*)"""
_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def merged(file: ConfigFile, data: bytes) -> bytes:
    """Raises ``ValueError`` if the present content cannot be read or has another shape, or the key is not known."""
    text = data.decode("utf-8-sig")
    mark, crlf = data[: len(data) - len(text.encode())], 0 < text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if crlf else text
    found = read(file.format, text)
    values = {name: clear(value) for name, value in file.values.items()}
    result = _MERGES[file.format](text, _changed(values, found), [m for m in file.removes if at(found, m) is not None])
    return mark + (result.replace("\n", "\r\n") if crlf else result).encode()


def read(form: Format, text: str) -> Mapping[str, Any]:
    """What a file says. Raises ``ValueError``, also for a file that is no object at the top."""
    match form:
        case "toml":
            return tomllib.loads(text.replace("\r\n", "\n"))
        case "json":
            return jsonc.parse(text) if text.strip() else {}
        case "env":
            found = re.finditer(_VARIABLE.format(r"\w+"), text, re.MULTILINE)
            return {match[1]: match[2][1:-1] if match[2] else match[3].partition(" #")[0].strip() for match in found}
        case "yaml":  # of which only names at the top matter
            return dict(re.findall(r"^([\w-]+) *: *(.*?) *$", text, re.MULTILINE))


def at(found: Mapping[str, Any], member: Member) -> Any:
    """The value of a member, ``None`` if there is none."""
    value: Any = found
    for name in member:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _changed(values: Mapping[str, Any], found: Mapping[str, Any], path: Member = ()) -> dict[str, Any]:
    """Those of ``values`` that ``found`` does not have yet. Raises ``ValueError`` for a value of another kind."""
    changed: dict[str, Any] = {}
    for name, value in values.items():
        old = found.get(name)
        if old is not None and _kind(old) != _kind(value):
            raise ValueError(f"{'.'.join((*path, name))} is {_kind(old)}, and has to be {_kind(value)}")
        if isinstance(value, Mapping) and old:
            value = _changed(value, old, (*path, name))
            if not value:
                continue
        if old != value:
            changed[name] = value
    return changed


def _kind(value: object) -> str:
    return next((word for kind, word in _KINDS.items() if isinstance(value, kind)), "something else")


def _toml(text: str, values: Mapping[str, Any], removes: Sequence[Member]) -> str:
    import tomlkit  # every command of a plugin would wait for it
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        for *outer, last in removes:
            del at(document, tuple(outer))[last]
        _update(document, values)
    except TOMLKitError as error:
        raise ValueError(str(error)) from None
    return tomlkit.dumps(document)


def _update(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        inner = table.get(name)
        if isinstance(value, Mapping) and isinstance(inner, MutableMapping):
            _update(inner, value)
        else:
            table[name] = value


def _json(text: str, values: Mapping[str, Any], removes: Sequence[Member]) -> str:
    for member in removes:
        text = jsonc.without(text, member)
    return jsonc.merged(text, values)


def _env(text: str, values: Mapping[str, Any], removes: Sequence[Member]) -> str:
    for (name,) in removes:
        text = re.sub(_VARIABLE.format(name) + r"\r?\n?", "", text, flags=re.MULTILINE)
    for name, value in values.items():
        line = f"{name}={_quoted(value)}"
        text, found = re.subn(_VARIABLE.format(name), lambda _: line, text, flags=re.MULTILINE)  # noqa: B023
        if not found:
            text += ("" if not text or text.endswith("\n") else "\n") + line + "\n"
    return text


def clear(value: Any) -> Any:
    """A key as a text. Raises ``ValueError`` if it is not known."""
    if not isinstance(value, Key):
        return value
    if value.value is None:
        raise ValueError("the key is not known here: start the proxy once, or give --key-file")
    return value.value.get_secret_value()


def _quoted(value: str) -> str:
    """In the quotes inside of which nothing has a meaning of its own."""
    if re.fullmatch(r"[\w./:@%+,-]*", value):
        return value
    quote = next((quote for quote in "\"'`" if quote not in value and (quote == "'" or "\\" not in value)), None)
    if quote is None or not value.isprintable():
        raise ValueError("a value has quotes or line ends that this file cannot have")
    return f"{quote}{value}{quote}"


_MERGES = {"json": _json, "toml": _toml, "env": _env}


def example(file: ConfigFile) -> str:
    """The file with nothing else in it. Not for files of variables, which may have a key."""
    return _MERGES[file.format]("", file.values, ()).rstrip("\n")
