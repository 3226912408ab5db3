"""JSON: the one place that chooses how it is read and written.

pydantic's reader and writer are several times as fast as the standard library's, are loaded anyway, and keep integers
of any size. The standard library is asked about what they refuse: halves of surrogate pairs, which clients send that
cut a text in the middle of an emoji, and the wording of an error.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pydantic_core import from_json, to_json

from proxy_core.jsons.heap import Heap
from proxy_core.jsons.in_steps import read as read_in_steps
from proxy_core.jsons.in_steps import write as write_in_steps

P = ParamSpec("P")
R = TypeVar("R")

#: Deeper values are refused: code that walks through a value may then recurse. The limit of pydantic's reader.
MAX_DEPTH = 200
#: What is read or written in less than a millisecond, whatever it holds.
SHORT = 128 * 1024
#: Each large body takes a multiple of its size while it is read, and each thread keeps some of that for itself.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="json")
_HEAP = Heap()
#: Whether the current code runs in a thread beside the event loop, which should get its turn often.
_BESIDE: ContextVar[bool] = ContextVar("_BESIDE", default=False)
#: What a number has to contain that JSON cannot express again: it may also be part of a text.
_NOT_FINITE = re.compile(rb"[0-9](?:[eE]\+?[0-9]{3}|[0-9]{199})")


async def beside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of ``work``, which reads or writes more than :data:`SHORT` bytes of JSON, from a thread."""
    _HEAP.trim_later(_THREADS)
    context = copy_context()
    job = partial(_beside, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: context.run(job))


def is_beside() -> bool:
    """Whether the current code was started by :func:`beside`, for a large body."""
    return _BESIDE.get()


def _beside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    _BESIDE.set(True)
    return work(*args, **kwargs)


def loads(data: bytes | str) -> Any:
    """The value of a text in UTF-8; ``NaN`` and ``Infinity``, which some servers write, are numbers.

    Raises ``ValueError``, also if the value is nested deeper than :data:`MAX_DEPTH`.
    """
    if len(data) > SHORT and _BESIDE.get() and isinstance(data, bytes):
        return read_in_steps(data, _read, MAX_DEPTH)
    return _read(data)


def loads_strict(data: bytes) -> Any:
    """Like :func:`loads`, but also raises ``ValueError`` for a number that JSON cannot express again, such as 1e400."""
    value = loads(data)
    may_be_infinite = len(data) > SHORT or _NOT_FINITE.search(data) or b"NaN" in data or b"Infinity" in data
    if may_be_infinite:
        _inspect(value)
    return value


def dumps(value: object) -> bytes:
    """Compact UTF-8; the order of keys is kept. NaN and infinite numbers, which JSON does not have, become null."""
    return write_in_steps(value, _write) if _BESIDE.get() else _write(value)


def _read(data: bytes | str) -> Any:
    try:
        return from_json(data, cache_strings="keys")
    except (ValueError, TypeError):  # the latter for a text with half of a surrogate pair
        return _read_slowly(data)


def _write(value: object) -> bytes:
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
        if finite and not all(map(math.isfinite, floats := [v for v in level if type(v) is float])):
            nan = any(map(math.isnan, floats))
            raise ValueError(f"it contains {'NaN, which JSON does not have' if nan else 'a number that is too large'}")
        inner: list[object] = []
        for outer in level:
            if type(outer) is dict:
                inner += outer.values()
            elif type(outer) is list:
                inner += outer
        level = inner
