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


def extras(text: str) -> set[str]:
    """What ``text`` has that the standard does not allow."""
    found = (match[0] for match in _NOT_JSON.finditer(text) if match[1] is None)
    return {"trailing commas" if piece == "," else "comments" for piece in found}


def merged(text: str, values: Mapping[str, Any]) -> str:
    """``text`` with ``values`` set in it, at any depth; all other members stay. Raises ``ValueError``."""
    if not text.strip():
        return json.dumps(values, indent=len(_INDENT), ensure_ascii=False) + "\n"
    parse(text)
    for path, value in leaves(values):
        text = _with(text, path, value)
    return text


def without(text: str, path: Sequence[str]) -> str:
    """``text`` without the member at this path, if it has one. Comments stay. Raises ``ValueError``."""
    *outer, last = path
    at = _after_gap(text, 0)
    for name in outer:
        span = _value(text, at, name)
        if span is None or text[span[0]] != "{":
            return text
        at = span[0]
    before = at
    for name, start, _, end in _members(text, at):
        if name == last:
            return without(_cut(text, before, start, end), path)
        before = end
    return text


def _cut(text: str, before: int, start: int, end: int) -> str:
    """Without the member between ``start`` and ``end`` and one comma; ``before`` is where the one before it ended."""
    comma = _after_gap(text, end)
    if text[comma] == ",":
        return _without_blank_line(text[:start], text[end:comma] + text[comma + 1 :])
    comma = _after_gap(text, before)
    if text[comma] == ",":
        return _without_blank_line(text[:comma] + text[comma + 1 : start], text[end:])
    return _without_blank_line(text[:start], text[end:])


def _without_blank_line(head: str, tail: str) -> str:
    line, gap = head.rstrip(" \t"), tail.lstrip(" \t")
    return line + gap[1:] if line.endswith("\n") and gap.startswith("\n") else head + tail


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values that are no objects, each with the names that lead to it."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _with(text: str, path: Sequence[str], value: Any) -> str:
    at = _after_gap(text, 0)
    for depth, name in enumerate(path):
        span = _value(text, at, name)
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


def _value(text: str, at: int, name: str) -> tuple[int, int] | None:
    """The span of a member's value in the object that begins at ``at``; of two with the same name, the last counts."""
    spans = [(start, end) for found, _, start, end in _members(text, at) if found == name]
    return spans[-1] if spans else None


def _members(text: str, at: int) -> Iterator[tuple[str, int, int, int]]:
    """The members of the object that begins at ``at``: name, and where the name, its value, and what follows begin."""
    at = _after_gap(text, at + 1)
    while text[at] != "}":
        name_end = _end(text, at)
        start = _after_gap(text, _after_gap(text, name_end) + 1)
        end = _end(text, start)
        yield json.loads(text[at:name_end]), at, start, end
        at = _after_gap(text, end)
        if text[at] == ",":
            at = _after_gap(text, at + 1)


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
