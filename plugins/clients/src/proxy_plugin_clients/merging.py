"""A client's file with new values in it, and everything else as it was."""

from __future__ import annotations

import json
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
    """Raises ``ValueError`` if the present content cannot be read or has another shape, or the key is not known.

    Also if anything else in the file would not stay what it is.
    """
    text = data.decode("utf-8-sig")
    mark, crlf = data[: len(data) - len(text.encode())], 0 < text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if crlf else text
    found = read(file.format, text)
    if file.format == "json" and (extras := jsonc.extras(text).difference(file.extras)):
        raise ValueError(f"it has {' and '.join(sorted(extras))}, which this client does not read: remove them")
    values = {name: clear(value) for name, value in file.values.items()}
    removes = [member for member in file.removes if at(found, member) is not None]
    result = _MERGES[file.format](text, _changed(values, found), removes)
    if _canonical(read(file.format, result)) != _canonical(_updated(_pruned(found, removes), values)):
        raise ValueError("its layout does not allow to set these values and keep everything else")
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


def _pruned(found: Mapping[str, Any], removes: Sequence[Member]) -> Mapping[str, Any]:
    """``found`` without the members of ``removes``, each of which it has."""
    for name, *inner in removes:
        rest = {other: value for other, value in found.items() if other != name}
        found = {**rest, name: _pruned(found[name], [tuple(inner)])} if inner else rest
    return found


def _updated(found: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = {name: _updated(found.get(name) or {}, value) for name, value in values.items() if isinstance(value, dict)}
    return {**found, **values, **inner}


def _canonical(found: Mapping[str, Any]) -> str:
    """A text that is the same for the same values in any order: ``1``, ``1.0`` and ``true`` differ, and NaN is NaN."""
    return json.dumps(found, sort_keys=True, default=repr)


def _kind(value: object) -> str:
    return next((word for kind, word in _KINDS.items() if isinstance(value, kind)), "something else")


def _toml(text: str, values: Mapping[str, Any], removes: Sequence[Member]) -> str:
    """New tables go to the end, where no line that is there already can become a part of them."""
    import tomlkit  # every command of a plugin would wait for it
    from tomlkit.exceptions import TOMLKitError

    if not values and not removes:
        return text
    try:
        document = tomlkit.parse(_lines(text))
        for *outer, last in removes:
            del at(document, tuple(outer))[last]
        tables = _update(document, values)
        return "\n".join(filter(None, (tomlkit.dumps(document), tomlkit.dumps(tables))))
    except TOMLKitError as error:
        raise ValueError(str(error)) from None


def _lines(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _update(table: MutableMapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Sets what a line in ``table`` can hold. Returns the rest, which needs tables of its own."""
    from tomlkit.items import InlineTable

    tables: dict[str, Any] = {}
    for name, value in values.items():
        inner = table.get(name)
        if not isinstance(value, Mapping) or (inner is None and isinstance(table, InlineTable)):
            table[name] = value
        elif rest := value if inner is None else _update(inner, value):
            tables[name] = rest
    return tables


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
            text = f"{_lines(text)}{line}\n"
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
