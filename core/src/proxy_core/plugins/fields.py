"""Whether the fields of what a plugin declares can hold what is in them: a wrong type would fail far from its cause."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from proxy_core.plugins.faults import described, with_article

#: Says what is wrong with a value, in words; empty if nothing is.
_Wrong = Callable[[Any], str]


def wrong_field(value: Struct) -> str:
    """In words, the first field with a value of a wrong type; empty if there is none."""
    for name, wrong, expected in _checks(type(value)):
        if what := wrong(getattr(value, name)):
            return f"{with_article(type(value).__name__)} whose {name} is {what}, not {expected}"
    return ""


@lru_cache(maxsize=100)
def _checks(cls: type) -> list[tuple[str, _Wrong, str]]:
    return [(name, *_check(hint)) for name, hint in get_type_hints(cls).items()]


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
