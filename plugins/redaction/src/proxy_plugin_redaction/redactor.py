"""Cleaning records: strings at any depth, and whole values of fields that hold secrets by name."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import re2

from proxy_core import JsonObject
from proxy_plugin_redaction.patterns import PERSONAL, Shape, cards, is_secret_field, plain_name
from proxy_plugin_redaction.settings import quiet

#: Between strings that are searched together.
_BETWEEN = b"\n\x00\n"
#: What stands for a thing that was found: (kind, found) -> text.
Replacement = Callable[[str, str], str]


class Finder:
    """All shapes at once, to know whether there is anything to do, and then one by one.

    One by one, because after a match of one shape the search for all would look far ahead for
    the end of another's, again and again: time in the square of the length.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = {name: (re2.compile(shape.pattern, quiet()), shape) for name, shape in shapes.items()}
        self._any = re2.compile(("|".join(f"(?:{s.pattern})" for s in shapes.values()) or r"\A\b\B").encode(), quiet())
        self._encoded = [re2.compile(shape.pattern.encode(), quiet()) for shape in shapes.values()]
        self._joinable = not any(shape.anchored for shape in shapes.values())

    def among(self, texts: Sequence[str]) -> set[str]:
        """Those of ``texts`` in which something may be found."""
        if not self._joinable:
            return set(texts)
        encoded = [_encoded(text) for text in texts]
        joined = _BETWEEN.join(encoded)
        if self._any.search(joined) is None:
            return set()
        ends = list(accumulate(len(text) + len(_BETWEEN) for text in encoded))
        found: set[str] = set()
        for pattern in self._encoded:
            for match in pattern.finditer(joined):
                found.update(texts[bisect_right(ends, match.start()) : bisect_left(ends, match.end()) + 1])
        return found

    def replaced(self, text: str, replacement: Replacement) -> str:
        """``text`` with what was found replaced by ``replacement(kind, found)``."""
        encoded = _encoded(text)
        if self._any.search(encoded) is None:
            return text
        text = encoded.decode()
        for name, (pattern, shape) in self._shapes.items():
            text = pattern.sub(_replacer(name, shape, replacement), text)
        return text


def _encoded(text: str) -> bytes:
    """Halves of surrogate pairs, which JSON can spell, become question marks: RE2 reads UTF-8."""
    return text.encode("utf-8", "replace")


def _replacer(kind: str, shape: Shape, replacement: Replacement) -> Callable[[Any], str]:
    def replace(match: Any) -> str:
        whole: str = match.group()
        kept: str = match.group(1) if shape.after_group else ""
        found = whole[len(kept) :]
        if shape.check is not None and not shape.check(found):
            return whole
        return kept + (_each_card(found, replacement) if shape is PERSONAL["card"] else replacement(kind, found))

    return replace


def _each_card(run: str, replacement: Replacement) -> str:
    out, at = "", 0
    for start, end in cards(run):
        out += run[at:start] + replacement("card", run[start:end])
        at = end
    return out + run[at:]


class RecordRedactor:
    """A pure function from JSON to JSON; itself if there was nothing to take out."""

    def __init__(self, shapes: Mapping[str, Shape], fields: Iterable[str]) -> None:
        self._finder = Finder(shapes)
        more = frozenset(plain_name(field) for field in fields)
        self._is_secret = lru_cache(maxsize=4096)(lambda name: is_secret_field(name, more))

    def __call__(self, record: JsonObject) -> JsonObject:
        texts: list[str] = []
        named = self._collect(record, texts)
        dirty = self._finder.among(texts)
        if not named and not dirty:
            return record
        cleaned: JsonObject = self._clean(record, dirty)
        return cleaned

    def _collect(self, value: Any, texts: list[str]) -> bool:
        """All strings of ``value``, keys included; true if a field is secret by its name."""
        named = False
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for name, inner in value.items():
                texts.append(name)
                named = named or self._is_secret(name)
                named = self._collect(inner, texts) or named
        elif isinstance(value, list | tuple):
            for inner in value:
                named = self._collect(inner, texts) or named
        return named

    def _clean(self, value: Any, dirty: set[str]) -> Any:
        if isinstance(value, str):
            return self._finder.replaced(value, _mark) if value in dirty else value
        if isinstance(value, dict):
            return {self._clean(name, dirty): self._field(name, inner, dirty) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(inner, dirty) for inner in value]
        return value

    def _field(self, name: str, value: Any, dirty: set[str]) -> Any:
        """An object below ``password`` is a schema or a form, and is looked through like any other."""
        if self._is_secret(name):
            if (isinstance(value, str) and value) or (isinstance(value, int | float) and not isinstance(value, bool)):
                return _mark(name, str(value))
            if isinstance(value, list | tuple):
                return [_mark(name, v) if isinstance(v, str) else self._clean(v, dirty) for v in value]
        return self._clean(value, dirty)


def _mark(kind: str, found: str) -> str:
    return "[redacted]"
