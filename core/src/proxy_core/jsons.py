"""JSON: the one place that chooses how it is read and written.

pydantic's reader and writer are several times as fast as the standard library's, are loaded anyway, and keep integers
of any size. The standard library is asked about what they refuse: halves of surrogate pairs, which clients send that
cut a text in the middle of an emoji, and the wording of an error.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic_core import from_json, to_json

#: Deeper values are refused: code that walks through a value may then recurse. The limit of pydantic's reader.
MAX_DEPTH = 200


def loads(data: bytes | str) -> Any:
    """The value of a text in UTF-8; ``NaN`` and ``Infinity``, which some servers write, are numbers.

    Raises ``ValueError``, also if the value is nested deeper than :data:`MAX_DEPTH`.
    """
    try:
        return from_json(data, cache_strings="keys")
    except ValueError:
        return _read_slowly(data)


def loads_strict(data: bytes) -> Any:
    """Like :func:`loads`, but also raises ``ValueError`` for a number that JSON cannot express again, such as 1e400."""
    value = loads(data)
    _inspect(value)
    return value


def dumps(value: object) -> bytes:
    """Compact UTF-8; the order of keys is kept. NaN and infinite numbers, which JSON does not have, become null."""
    try:
        return to_json(value, inf_nan_mode="null")
    except ValueError:  # half of a surrogate pair, which JSON can express as an escape, and UTF-8 cannot
        text = json.dumps(value)
        return json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":")).encode()


def _read_slowly(data: bytes | str) -> Any:
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _inspect(value, finite=False)
    return value


def _inspect(value: object, *, finite: bool = True) -> None:
    """Level by level, without recursion. Raises ``ValueError`` if it is too deep or, on request, not finite."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise ValueError("it is nested too deeply")
        if finite and not all(map(math.isfinite, [v for v in level if type(v) is float])):
            raise ValueError("it contains a number that is too large")
        inner: list[object] = []
        for outer in level:
            if type(outer) is dict:
                inner += outer.values()
            elif type(outer) is list:
                inner += outer
        level = inner
