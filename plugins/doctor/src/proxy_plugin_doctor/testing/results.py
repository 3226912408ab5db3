"""Cases of the conformance kit for one object, and their failures by cause: one mistake fails most of them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from proxy_core import CredentialRefused

if TYPE_CHECKING:
    from proxy_core.testing.conformance import Case

#: Where the core says what a plugin did.
_LOG = logging.getLogger("proxy_core.plugins")


class Result(Struct, frozen=True, kw_only=True):
    """One case, for one object of the plugin. ``trace`` leads to the plugin's own lines."""

    object: str
    case: str
    result: Literal["passed", "failed", "not applicable"]
    seconds: float
    message: str = ""
    why: str = ""
    trace: Sequence[str] = ()


def run(label: str, cases: Sequence[Case[Any]], subject: Any) -> Iterator[Result]:
    for case in cases:
        yield _result(label, case, subject)


def _result(label: str, case: Case[Any], subject: Any) -> Result:
    from proxy_core.testing.conformance import run_case

    began = perf_counter()
    with _told() as told:
        outcome = run_case(case, subject)
    seconds = perf_counter() - began
    message, trace = outcome.message, _own_lines(outcome.error) if outcome.error else []
    unknown = isinstance(outcome.error, CredentialRefused)  # a login has details that the kit's credential has not
    failed = outcome.result == "failed" and not unknown
    if failed and not trace and told:
        message, trace = told[0].message, told[0].trace
    return Result(
        object=label,
        case=case.name,
        result="not applicable" if unknown else outcome.result,
        seconds=seconds,
        message=message,
        why=case.why if failed else "",
        trace=trace if failed else (),
    )


class Cause(Struct, kw_only=True):
    """What cases have in common that fail with the same message, or in the same line of the plugin."""

    object: str
    message: str
    trace: Sequence[str]
    results: list[Result] = field(default_factory=list)


def causes(results: Sequence[Result]) -> list[Cause]:
    found: dict[tuple[str, str], Cause] = {}
    for result in results:
        if result.result == "failed":
            key = (result.object, result.trace[-1] if result.trace else result.message)
            new = Cause(object=result.object, message=result.message, trace=result.trace)
            found.setdefault(key, new).results.append(result)
    return list(found.values())


# --- What a plugin raised inside the proxy that plays a case ------------------------------


class _Told(Struct, frozen=True):
    message: str
    trace: list[str]


class _Listening(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[_Told] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            self.told.append(_Told(record.getMessage().partition("; its author")[0], []))
        else:
            self.told.append(_Told(f"{type(error).__name__}: {error}", _own_lines(error)))


@contextmanager
def _told() -> Iterator[list[_Told]]:
    handler = _Listening()
    _LOG.addHandler(handler)
    try:
        yield handler.told
    finally:
        _LOG.removeHandler(handler)


def _own_lines(error: BaseException) -> list[str]:
    """The traceback without the core and its kit; of a case that only found something wrong, nothing is left."""
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    frames = traceback.extract_tb(first.__traceback__)
    own = [frame for frame in frames if "/proxy_core/" not in frame.filename and "/asyncio/" not in frame.filename]
    return traceback.format_list(own)
