"""Lines for the debug log about each call of a plugin: how long it took, and what it changed. Names, never values."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar, TypeVarTuple

from proxy_core.interfaces import ProxyRequest
from proxy_core.plugins.faults import NAMES_ONLY, Site

Ts = TypeVarTuple("Ts")
R = TypeVar("R")
log = logging.getLogger("proxy_core.plugins.calls")

_MOST_NAMES = 12
#: Clients can nest names of any length.
_LONGEST_NAME = 100
#: What a redactor gets for a line of the program log, which must not cause another line.
_LINE = {"text"}


def traced(call: Callable[[*Ts], R], site: Site, function: str) -> Callable[[*Ts], R]:
    """``call``, with a line for each call. ``function`` is the name by which its author knows it."""

    @wraps(call)
    def run(*args: *Ts) -> R:
        began = perf_counter()
        try:
            result = call(*args)
        except Exception as error:
            _note(site, function, began, args, error)
            raise
        _note(site, function, began, args, result)
        return result

    return run


def traced_async(call: Callable[[*Ts], Awaitable[R]], site: Site, function: str) -> Callable[[*Ts], Awaitable[R]]:
    @wraps(call)
    async def run(*args: *Ts) -> R:
        began = perf_counter()
        try:
            result = await call(*args)
        except Exception as error:
            _note(site, function, began, args, error)
            raise
        _note(site, function, began, args, result)
        return result

    return run


def name_of(call: object) -> str:
    return str(getattr(call, "__name__", type(call).__name__))


def _note(site: Site, function: str, began: float, args: tuple[Any, ...], result: object) -> None:
    given = args[0] if args else None
    if isinstance(given, dict) and given.keys() == _LINE:
        return
    words = (function, site, (perf_counter() - began) * 1000, _outcome(given, result))
    log.debug("%s of the %s took %.2f ms: %s", *words, extra=NAMES_ONLY)


def _outcome(given: object, result: object) -> str:
    match given, result:
        case _, Exception():
            return f"it raised {type(result.__cause__ or result).__name__}"
        case ProxyRequest(), ProxyRequest():
            return f"changed {_named(changed_fields(given.body, result.body))}"
        case dict(), dict():
            return f"changed {_named(changed_fields(given, result, shown_only=True))}"
        case _, list() | tuple():
            size = f"{len(given)} bytes" if isinstance(given, bytes) else _type(given)
            return f"{size} became {_named(type(one).__name__ for one in result)}"
    return f"it returned {_type(result)}"


def _type(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _named(names: Iterator[str]) -> str:
    found = list(dict.fromkeys(name[:_LONGEST_NAME] for name in names))
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return ", ".join(found[:_MOST_NAMES]) + more or "nothing"


def changed_fields(old: Any, new: Any, path: str = "", *, shown_only: bool = False) -> Iterator[str]:
    """The paths of what differs between two JSON values: ``messages[1].content``.

    ``shown_only``: names that are no longer there are left out, because a redactor removes private names, too.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in new if shown_only else {**old, **new}:
            inner = f"{path}.{name}" if path else str(name)
            yield from changed_fields(old.get(name), new.get(name), inner, shown_only=shown_only)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from changed_fields(*pair, f"{path}[{number}]", shown_only=shown_only)
    elif old != new:
        yield path
