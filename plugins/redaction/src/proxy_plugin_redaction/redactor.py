"""Redact records: strings at any depth, and whole values of fields whose names denote secrets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import accumulate
from typing import Any

import re2

from proxy_core import JsonObject
from proxy_plugin_redaction.patterns import PERSONAL, Shape, cards, is_secret_field, plain_name
from proxy_plugin_redaction.settings import quiet

#: Separates strings that are searched together.
_BETWEEN = "\n\x00\n"
#: Appended to every searched text: if the search does not find this, it has failed.
_END = b"\n\x00end\x00"
_CONTAINERS = (dict, list, tuple)
#: Returns the text to put in place of a match: (kind, found) -> text.
Replacement = Callable[[str, str], str]


class Finder:
    """First searches for all shapes at once to learn which occur, then replaces those one shape at a time.

    A single search that replaces all shapes would, after each match, look far ahead for the end of another
    shape, again and again: quadratic time.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = [(name, re2.compile(s.pattern.encode(), quiet()), s) for name, s in shapes.items()]
        self._joinable = not any(shape.anchored for shape in shapes.values())
        self._set = _set((*(shape.pattern for shape in shapes.values()), _END.decode()))

    def _occurring(self, encoded: bytes) -> set[int]:
        """The shapes that occur; all of them, if the search cannot tell."""
        every = set(range(len(self._shapes)))
        if self._set is None or not self._joinable:
            return every
        found = set(self._set.Match(encoded + _END))
        # Running out of memory looks like finding nothing.
        return found & every if len(every) in found else every

    def among(self, texts: Sequence[str]) -> set[str]:
        """Those of ``texts`` that may contain a match."""
        if not self._joinable:
            return set(texts)
        joined = _encoded(_BETWEEN.join(texts))
        occurring = self._occurring(joined)
        if not occurring:
            return set()
        ends = list(accumulate(len(_encoded(text)) + len(_BETWEEN) for text in texts))
        found: set[str] = set()
        for index in occurring:
            for match in self._shapes[index][1].finditer(joined):
                found.update(texts[bisect_right(ends, match.start()) : bisect_left(ends, match.end()) + 1])
        return found

    def replaced(self, text: str, replacement: Replacement) -> str:
        """``text`` with each match replaced by ``replacement(kind, found)``."""
        encoded, done = _encoded(text), set[int]()
        # Repeat until nothing new occurs: a replacement may uncover a match that directly followed it.
        while new := self._occurring(encoded) - done:
            for index in sorted(new):
                name, pattern, shape = self._shapes[index]
                encoded = pattern.sub(_replacer(name, shape, replacement), encoded)
            done |= new
        return encoded.decode() if done else text


@lru_cache(maxsize=8)
def _set(patterns: tuple[str, ...]) -> Any:
    """All patterns as one automaton, compiled once for all reloads; ``None`` if that would be too large."""
    found = re2.Set.SearchSet(quiet())
    for pattern in patterns:
        found.Add(pattern)
    try:
        found.Compile()
    except re2.error:
        return None
    return found


def _encoded(text: str) -> bytes:
    """Encode for RE2, which reads UTF-8; lone surrogates, which JSON can contain, become question marks."""
    return text.encode("utf-8", "replace")


def _replacer(kind: str, shape: Shape, replacement: Replacement) -> Callable[[Any], bytes]:
    def replace(match: Any) -> bytes:
        whole: bytes = match.group()
        kept: bytes = match.group(1) if shape.after_group else b""
        found = whole[len(kept) :].decode()
        if shape.check is not None and not shape.check(found):
            return whole
        put = _each_card(found, replacement) if shape is PERSONAL["card"] else replacement(kind, found)
        return kept + put.encode()

    return replace


def _each_card(run: str, replacement: Replacement) -> str:
    out, at = "", 0
    for start, end in cards(run):
        out += run[at:start] + replacement("card", run[start:end])
        at = end
    return out + run[at:]


_LONGEST_KEPT = 64
_MOST_KEPT = 4096


class RecordRedactor:
    """A pure function from JSON to JSON; returns the same object if there is nothing to redact."""

    def __init__(self, shapes: Mapping[str, Shape], fields: Iterable[str]) -> None:
        self._finder = Finder(shapes)
        self._more = frozenset(plain_name(field) for field in fields)
        self._harmless: set[str] = set()

    def __call__(self, record: JsonObject) -> JsonObject:
        texts, names = _strings(record)
        dirty = self._finder.among([*texts, *names])
        secret = self._secret(names)
        if not secret and not dirty:
            return record
        clean = _Cleaning({text: self._finder.replaced(text, _mark) for text in dirty}, secret)
        cleaned: JsonObject = clean.value(record)
        return cleaned

    def _secret(self, names: AbstractSet[str]) -> set[str]:
        """Those that denote secrets. The others are remembered, unless they are long: clients can make up any."""
        unknown = names - self._harmless
        secret = {name for name in unknown if is_secret_field(name, self._more)}
        if len(self._harmless) < _MOST_KEPT:
            self._harmless.update(name for name in unknown - secret if len(name) <= _LONGEST_KEPT)
        return secret


def _strings(record: JsonObject) -> tuple[set[str], set[str]]:
    """All strings of ``record``: values and field names."""
    texts: set[str] = set()
    names: set[str] = set()
    containers: list[Any] = [record]
    for container in containers:  # grows while iterating
        if isinstance(container, dict):
            names.update(container)
        for value in container.values() if isinstance(container, dict) else container:
            if isinstance(value, str):
                texts.add(value)
            elif isinstance(value, _CONTAINERS):
                containers.append(value)
    return texts, names


class _Cleaning:
    """Rewrites one record; knows the replacement of each dirty string and which field names denote secrets."""

    def __init__(self, becomes: Mapping[str, str], secret: AbstractSet[str]) -> None:
        self._becomes = becomes
        self._secret = secret

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._becomes.get(value, value)
        if isinstance(value, dict):
            becomes, secret = self._becomes, self._secret
            return {
                becomes.get(name, name): self._field(name, inner) if name in secret else self.value(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def _field(self, name: str, value: Any) -> Any:
        """An object below ``password`` is a schema or a form, so it is searched like any other."""
        if (isinstance(value, str) and value) or (isinstance(value, int | float) and not isinstance(value, bool)):
            return _mark(name, str(value))
        if isinstance(value, list | tuple):
            return [_mark(name, v) if isinstance(v, str) else self.value(v) for v in value]
        return self.value(value)


def _mark(kind: str, found: str) -> str:
    return "[redacted]"
