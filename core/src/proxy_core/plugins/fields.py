"""Whether the fields of what a plugin declares can hold what is in them: a wrong type would fail far from its cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from proxy_core.errors import ErrorFacts, ProxyError
from proxy_core.plugins.faults import described, with_article

#: Says what is wrong with a value, in words; empty if nothing is.
_Wrong = Callable[[Any], str]
#: A field, its check, and in words what passes it.
_FieldCheck = tuple[str, _Wrong, str]
#: More than any number of seconds or tokens.
_MOST = 10**12


def wrong_field(value: Struct) -> str:
    """In words, the first field with a value of a wrong type; empty if there is none."""
    checks = _checks(type(value))
    types = tuple(map(type, checks.by_type(value)))
    if what := "" if types in checks.passed else _first_wrong(value, checks.all):
        return what
    checks.passed.add(types)
    return _first_wrong(value, checks.by_value)


def _first_wrong(value: Struct, checks: Sequence[_FieldCheck]) -> str:
    for name, wrong, expected in checks:
        if what := wrong(getattr(value, name)):
            return f"{with_article(type(value).__name__)} whose {name} is {what}, not {expected}"
    return ""


class _Checks(Struct):
    """The checks of a class. Of most fields the type decides, so what once passed need not be looked at again."""

    all: Sequence[_FieldCheck]
    by_value: Sequence[_FieldCheck]
    by_type: Callable[[Any], tuple[Any, ...]]
    passed: set[tuple[type, ...]]


def wrong_number(value: object) -> str:
    """What is wrong with a number of seconds or tokens, where it is one."""
    if not isinstance(value, int | float) or 0 <= value <= _MOST:
        return ""
    return f"{value:g}" if math.isfinite(value) else str(value)


def wrong_error(error: BaseException) -> str:
    """In words, the first attribute of a ``ProxyError`` that no response can hold; empty if there is none."""
    if not isinstance(error, ProxyError):
        return ""
    given = {name: getattr(error, name, None) for name in _OF_ERRORS}
    for name, (wrong, expected) in _OF_ERRORS.items():
        if what := wrong(given[name]):
            return f"a {name} that is {what}, not {expected}"
    if what := wrong_number(error.retry_after_s):
        return f"a retry_after_s of {what}"
    return "" if 300 <= error.status <= 599 else f"a status of {error.status}"


@lru_cache(maxsize=100)
def _checks(cls: type) -> _Checks:
    hints = get_type_hints(cls)
    checks = [(name, *_check(hint)) for name, hint in hints.items()]
    by_value = [check for check in checks if not _is_by_type(hints[check[0]])]
    get = attrgetter(*hints)
    return _Checks(checks, by_value, get if len(hints) > 1 else lambda value: (get(value),), set())


def _is_by_type(hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return all(map(_is_by_type, args))
    return origin not in (Literal, Callable, Sequence, type)


def _check(hint: Any) -> tuple[_Wrong, str]:
    """A check of values, and in words what passes it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        checks = [_check(arg) for arg in args]
        words = " or ".join(expected for _, expected in checks)
        return lambda value: min((wrong(value) for wrong, _ in checks), key=len), words
    if origin is Literal:
        return _unless(lambda value: isinstance(value, str) and value in args), " or ".join(map(repr, args))
    if origin is Callable:
        return _unless(callable), "function"
    if origin is type:
        is_one = _unless(lambda value: isinstance(value, type) and issubclass(value, args))
        return is_one, f"a subclass of {args[0].__name__}"
    if origin is Sequence:
        return _each(*_check(args[0]))
    return _instance(origin or hint)


def _unless(fits: Callable[[Any], bool]) -> _Wrong:
    return lambda value: "" if fits(value) else described(value)


def _each(wrong: _Wrong, expected: str) -> tuple[_Wrong, str]:
    def check(value: Any) -> str:
        if not isinstance(value, Collection) or isinstance(value, str | bytes | Mapping):
            return described(value)
        return next((f"{described(value)} with {what}" for one in value if (what := wrong(one))), "")

    return check, f"list of {expected}"


def _instance(hint: Any) -> tuple[_Wrong, str]:
    if hint is NoneType:
        return _unless(lambda value: value is None), "None"
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return lambda value: "", ""
    accepted = (int, float) if hint is float else hint
    return _unless(lambda value: isinstance(value, accepted)), hint.__name__


#: What of a ``ProxyError`` a response holds.
_OF_ERRORS = {name: _check(hint) for name, hint in get_type_hints(ErrorFacts).items() if name != "own_words"} | {
    "retry_after_s": _check(float | None)
}
