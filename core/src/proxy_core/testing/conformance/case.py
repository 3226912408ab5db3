"""A case of the conformance kit, and how it is run without pytest."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from proxy_core.plugins.faults import described

T = TypeVar("T")
S = TypeVar("S")


class NotApplicable(Exception):
    """The case does not concern this plugin, or needs something that it was not given; the message says what."""


class Case(Struct, Generic[S], frozen=True, kw_only=True):
    """``run(subject)`` raises ``AssertionError`` that says what is wrong, or :class:`NotApplicable`.

    ``why`` is what happens to users of a plugin that fails it.
    """

    name: str
    group: str
    why: str
    run: Callable[[S], Coroutine[Any, Any, None]]


class Outcome(Struct, Generic[S], frozen=True, kw_only=True):
    """``message`` says what is wrong, or why the case does not apply. ``error``: the exception, unless it is ours."""

    case: Case[S]
    result: Literal["passed", "failed", "not applicable"]
    message: str = ""
    error: Exception | None = None


def expect(condition: object, message: str) -> None:
    """An assertion that also holds where Python leaves assertions out."""
    if not condition:
        raise AssertionError(message)


def returned(found: object, wanted: type[T], function: str) -> T:
    """``found``, if it is what the function has to return."""
    if inspect.iscoroutine(found):
        found.close()
        raise AssertionError(f"{function} returned a coroutine: it must be a plain function, not async")
    if not isinstance(found, wanted):
        raise AssertionError(f"{function} returned {described(found)}, not a {wanted.__name__}")
    return found


def run_case(case: Case[S], subject: S) -> Outcome[S]:
    try:
        asyncio.run(case.run(subject))
    except NotApplicable as reason:
        return Outcome(case=case, result="not applicable", message=str(reason))
    except AssertionError as problem:
        return Outcome(case=case, result="failed", message=str(problem), error=problem)
    except Exception as error:  # a plugin may raise anything, and the other cases are to run
        return Outcome(case=case, result="failed", message=f"{type(error).__name__}: {error}", error=error)
    return Outcome(case=case, result="passed")


def run_cases(cases: Sequence[Case[S]], subject: S) -> Iterator[Outcome[S]]:
    """One after the other; must not be called in a running event loop."""
    return (run_case(case, subject) for case in cases)
