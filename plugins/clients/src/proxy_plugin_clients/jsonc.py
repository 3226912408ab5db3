"""Sets members of JSON that people write: comments, trailing commas, order and layout stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_GAP = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}/\"\[{]+")
_NOT_JSON = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|,(?=(?>\s|//[^\n]*|/\*.*?\*/)*+[\]}])', re.DOTALL)
_INDENT = "  "


def parse(text: str) -> dict[str, Any]:
    """Raises ``ValueError``, also for JSON that is not an object."""
    found = json.loads(_NOT_JSON.sub(lambda match: match[1] or " ", text))
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def merged(text: str, values: Mapping[str, Any]) -> str:
    """``text`` with ``values`` set in it, at any depth; all other members stay. Raises ``ValueError``."""
    if not text.strip():
        return json.dumps(values, indent=len(_INDENT), ensure_ascii=False) + "\n"
    parse(text)
    for path, value in _leaves(values):
        text = _with(text, path, value)
    return text


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _with(text: str, path: Sequence[str], value: Any) -> str:
    at = _after_gap(text, 0)
    for depth, name in enumerate(path):
        span = _member(text, at, name)
        last = depth == len(path) - 1
        if span is None:
            return _inserted(text, at, name, _nested(path[depth + 1 :], value), depth + 1)
        if last or text[span[0]] != "{":
            return text[: span[0]] + _dumped(_nested(path[depth + 1 :], value), depth + 1) + text[span[1] :]
        at = span[0]
    return text


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _member(text: str, at: int, name: str) -> tuple[int, int] | None:
    """The span of a member's value in the object that begins at ``at``; of two with the same name, the last counts."""
    found, at = None, _after_gap(text, at + 1)
    while text[at] != "}":
        key_end = _end(text, at)
        start = _after_gap(text, _after_gap(text, key_end) + 1)
        end = _end(text, start)
        if json.loads(text[at:key_end]) == name:
            found = (start, end)
        at = _after_gap(text, end)
        if text[at] == ",":
            at = _after_gap(text, at + 1)
    return found


def _end(text: str, at: int) -> int:
    """Where the value that begins at ``at`` ends."""
    if text[at] not in "{[":
        match = _STRING.match(text, at) or _SCALAR.match(text, at)
        if match is None:
            raise ValueError(f"no value at character {at}")
        return match.end()
    depth = 0
    while True:
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(text[at], 0)
        at = at + 1 if text[at] in "{[}],:" else _end(text, at)
        if depth == 0:
            return at
        at = _after_gap(text, at)


def _after_gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


def _inserted(text: str, at: int, name: str, value: Any, depth: int) -> str:
    """As the first member, where it needs no look at what the last one ends with."""
    empty = text[_after_gap(text, at + 1)] == "}"
    line = f"\n{_INDENT * depth}{json.dumps(name)}: {_dumped(value, depth)}"
    after = "" if not empty else "" if "\n" in text[at + 1 : _after_gap(text, at + 1)] else f"\n{_INDENT * (depth - 1)}"
    return text[: at + 1] + line + ("" if empty else ",") + after + text[at + 1 :]


def _dumped(value: Any, depth: int) -> str:
    return json.dumps(value, indent=len(_INDENT), ensure_ascii=False).replace("\n", "\n" + _INDENT * depth)
