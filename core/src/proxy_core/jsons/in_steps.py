"""JSON of many megabytes, read and written in short steps, for a thread beside the event loop.

A single call of the fast reader or writer would hold the interpreter for its whole duration, up to 100 ms for 20 MB.
Here each call lasts about a millisecond, and the event loop gets its turn in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct, field

#: The largest request that a vendor accepts has 300,000 token ids. A container counts as several values, because it
#: takes their memory, and time of the garbage collector.
MAX_VALUES, CONTAINER_VALUES = 500_000, 4
#: What one call reads or writes.
_STEP = 128 * 1024
#: What is not a mark of structure: anything in a string, and what is neither in a string nor one of ``[]{},"``.
_UNMARKED = re.compile(rb'(?:[^\[\]{},"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_SPACE = b" \t\r\n"
#: From ``[`` to ``]``, and from ``{`` to ``}``.
_TO_CLOSING = 2
#: A stretch of a string; it ends between two characters, not inside an escape or between the halves of a pair.
_STRETCH = re.compile(
    rb'(?:[^"\\]++|\\[^u]|\\u(?![dD][89abAB])....|\\u[dD][89abAB]..(?:\\u[dD][c-fC-F]..|(?!\\u[dD][c-fC-F])(?=.{6})))*+',
    re.DOTALL,
)
_LONGEST_ESCAPE = 12
_NAME = re.compile(rb'[ \t\r\n]*("(?:[^"\\]++|\\.)*+")[ \t\r\n]*:', re.DOTALL)
_LONGEST_NAME = 64 * 1024

Read = Callable[[bytes], Any]
Write = Callable[[object], bytes]


class _Span(Struct):
    """A container in the text, and where its items are separated."""

    start: int
    end: int = 0
    commas: list[int] = field(default_factory=list)


class NotJson(ValueError):
    def __init__(self, at: int) -> None:
        super().__init__(f"it is malformed near byte {at}")


def read(data: bytes, read_step: Read, max_depth: int) -> Any:
    """The value of ``data``. ``read_step`` reads what is short. Raises ``ValueError``."""
    return _Reader(data, read_step, max_depth).value()


class _Reader:
    """First finds the long containers, then reads their items: short ones in one call, long ones in the same way."""

    def __init__(self, data: bytes, read_step: Read, max_depth: int) -> None:
        self._data = data
        self._read_step = read_step
        self._long = dict(_long_containers(data, max_depth))

    def value(self) -> Any:
        return self._value(0, len(self._data))

    def _value(self, start: int, end: int) -> Any:
        data = self._data
        while start < end and data[start] in _SPACE:
            start += 1
        while end > start and data[end - 1] in _SPACE:
            end -= 1
        span = self._long.get(start)
        if span is not None and span.end == end:
            return self._object(span) if data[start] == 0x7B else self._array(span)
        text = data[start:end]
        if end - start > _STEP and data[start] == 0x22 and not (text.isascii() and b"\\" not in text):
            return "".join(self._stretches(start, end))
        return self._step(text, start)

    def _array(self, span: _Span) -> list[Any]:
        found: list[Any] = []
        for start, end in self._batches(span):
            if end - start <= _STEP:
                found += self._step(b"[" + self._data[start:end] + b"]", start) or self._empty(start)
            else:
                found.append(self._value(start, end))
        return found

    def _object(self, span: _Span) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start, end in self._batches(span):
            if end - start <= _STEP:
                found |= self._step(b"{" + self._data[start:end] + b"}", start) or self._empty(start)
                continue
            name = _NAME.match(self._data, start, min(start + _LONGEST_NAME, end))
            if name is None:
                raise NotJson(start)
            found[self._step(name[1], start)] = self._value(name.end(), end)
        return found

    def _batches(self, span: _Span) -> Iterator[tuple[int, int]]:
        """Runs of items that are short together; a long item by itself."""
        start = before = span.start + 1
        for comma in [*span.commas, span.end - 1]:
            if comma - start > _STEP and before > start:
                yield start, before - 1
                start = before
            before = comma + 1
        yield start, span.end - 1

    def _stretches(self, start: int, end: int) -> Iterator[str]:
        """A long string. Other than a reader of the whole text, this need not look for the end of it."""
        data, at, last = self._data, start + 1, end - 1
        if last < at or data[last] != 0x22:
            raise NotJson(start)
        while at < last:
            until = self._cut(at, last)
            yield self._step(b'"' + data[at:until] + b'"', at)
            at = until

    def _cut(self, at: int, last: int) -> int:
        """Where a stretch of a string that begins at ``at`` may end."""
        data, until = self._data, min(at + _STEP, last)
        if until < last and b"\\" in data[until - _LONGEST_ESCAPE : until]:
            stretch = _STRETCH.match(data, at, until)
            until = stretch.end() if stretch is not None else at
        while until < last and until > at and data[until] & 0xC0 == 0x80:
            until -= 1
        return until if until > at else min(at + _STEP, last)  # the reader says what is wrong with it

    def _step(self, text: bytes, at: int) -> Any:
        try:
            return self._read_step(text)
        except UnicodeDecodeError:
            raise
        except ValueError:
            raise NotJson(at) from None

    def _empty(self, at: int) -> Any:
        """An empty run of items: there is one only in an empty container, and that is not long."""
        raise NotJson(at)


def _long_containers(data: bytes, max_depth: int) -> Iterator[tuple[int, _Span]]:
    """By their positions, the containers that one step cannot read. Raises ``ValueError`` for too many values."""
    open_spans: list[_Span] = []
    values, at = 0, 0
    while (at := _unmarked_end(data, at)) < len(data):
        byte, at = data[at], at + 1
        if byte == 0x22:
            at = _string_end(data, at)
        elif byte in b"[{":
            values += CONTAINER_VALUES
            open_spans.append(_Span(at - 1))
            if len(open_spans) > max_depth:
                raise ValueError("it is nested too deeply")
        elif byte in b"]},":
            if not open_spans:
                raise NotJson(at)
            if byte == 0x2C:
                values += 1
                open_spans[-1].commas.append(at - 1)
            else:
                span = open_spans.pop()
                if byte - data[span.start] != _TO_CLOSING:
                    raise NotJson(at)
                span.end = at
                if at - span.start > _STEP:
                    yield span.start, span
        if values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
    if open_spans:
        raise NotJson(len(data))


def _unmarked_end(data: bytes, at: int) -> int:
    found = _UNMARKED.match(data, at, at + _STEP)
    return found.end() if found is not None else at


def _string_end(data: bytes, at: int) -> int:
    """The offset after the string whose content begins at ``at``."""
    end = data.find(b'"', at)
    if end >= 0 and data.find(b"\\", at, end) < 0:
        return end + 1
    while at < len(data) and data[at] != 0x22:
        stretch = _STRETCH.match(data, at, at + _STEP)
        if stretch is None or stretch.end() == at:
            # An escape that is not complete is the reader's concern; skip it to find the end.
            at += 2
        else:
            at = stretch.end()
    return at + 1


def write(value: object, write_step: Write) -> bytes:
    """``value`` as JSON. ``write_step`` writes what is short. Raises what that raises."""
    parts: list[bytes] = []
    _write(value, write_step, parts)
    return b"".join(parts)


def _write(value: object, write_step: Write, parts: list[bytes]) -> None:
    if isinstance(value, str) and len(value) > _STEP:
        parts.append(b'"')
        parts += [write_step(value[at : at + _STEP])[1:-1] for at in range(0, len(value), _STEP)]
        parts.append(b'"')
    elif isinstance(value, dict) and _weight(value, _STEP) > _STEP:
        before = b"{"
        for name, inner in value.items():
            parts.append(before + write_step({name: None})[1:-5])
            _write(inner, write_step, parts)
            before = b","
        parts.append(b"}")
    elif isinstance(value, list | tuple) and _weight(value, _STEP) > _STEP:
        before = b"["
        for few in _runs(value):
            parts.append(before)
            before = b","
            if len(few) == 1:
                _write(few[0], write_step, parts)
            else:
                parts.append(write_step(few)[1:-1])
        parts.append(b"]")
    else:
        parts.append(write_step(value))


def _runs(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Runs of values that are short together; a long one by itself."""
    start, weight = 0, 0
    for at, value in enumerate(values):
        weight += (more := _weight(value, _STEP))
        if weight > _STEP and at > start:
            yield values[start:at]
            start, weight = at, more
    yield values[start:]


def _weight(value: object, limit: int) -> int:
    """About the length of ``value`` as JSON; any number above ``limit`` if it is above."""
    if isinstance(value, str):
        return len(value) + 3
    if not isinstance(value, dict | list | tuple):
        return 8
    weight = 2
    for inner in value.values() if isinstance(value, dict) else value:
        weight += 8 + _weight(inner, limit - weight)
        if weight > limit:
            break
    return weight
