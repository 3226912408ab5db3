"""Turns validation errors of settings into messages of one line each."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

KeyPath = tuple[str, ...]


def problems(
    error: ValidationError, cls: type[BaseModel], at: KeyPath, origin: Callable[[KeyPath, KeyPath], str | None]
) -> list[str]:
    """One line per problem: the key, what is wrong, where it was set. Values are not shown: they may be secrets.

    ``at`` is the path of ``cls`` within all settings. ``origin`` receives a key's path twice: from the root of the
    settings, and from ``at``.
    """
    lines = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        local = tuple(str(part) for part in detail["loc"])
        path = at + local
        place = origin(path, local)
        lines.append(f"{'.'.join(path)}: {_message(detail, cls, local)}" + (f" (from {place})" if place else ""))
    return lines


def usable(cls: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """What is left without the keys that are wrong: enough to look for what else is."""
    while True:
        try:
            cls(**data)
            return dict(data)
        except ValidationError as error:
            before, data = data, reduce(_without, (detail["loc"] for detail in error.errors(include_url=False)), data)
            if data == before:
                return {}
        except ValueError:  # a variable that is not JSON
            return {}


def _without(table: Mapping[str, Any], path: Sequence[int | str]) -> Mapping[str, Any]:
    """Without the key at ``path``, or else what is nearest around it."""
    if not path:
        return table
    key, rest = str(path[0]), path[1:]
    inner = table.get(key)
    if rest and isinstance(inner, Mapping) and str(rest[0]) in inner:
        return {**table, key: _without(inner, rest)}
    return {name: value for name, value in table.items() if name != key}


def _message(detail: ErrorDetails, cls: type[BaseModel], local: tuple[str, ...]) -> str:
    if detail["type"] != "extra_forbidden":
        return detail["msg"].removeprefix("Value error, ")
    known = list(_fields_at(cls, local[:-1]))
    close = difflib.get_close_matches(local[-1], known, n=1)
    return "no such setting" + (f"; did you mean {close[0]!r}?" if close else "")


def _fields_at(cls: type[BaseModel], local: Sequence[str]) -> Iterator[str]:
    """Field names of the table at ``local``, for suggestions."""
    schema = TypeAdapter(cls).json_schema()
    node: dict[str, Any] = schema
    for part in local:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    yield from node.get("properties", {})
