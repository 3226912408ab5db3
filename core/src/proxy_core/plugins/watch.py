"""Watches a plugin's functions: their time, what they raise and return, and the circuit breaker of one that is slow."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from time import perf_counter
from types import coroutine
from typing import Any, Literal, TypeVar, TypeVarTuple

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.errors import PluginFailed, ProxyError
from proxy_core.plugins.faults import NAMES_ONLY, Faults, Site, described, failure, is_from_outside, unfit
from proxy_core.plugins.fields import wrong_error
from proxy_core.plugins.trace import name_of, traced, traced_async

Ts = TypeVarTuple("Ts")
R = TypeVar("R")
log = logging.getLogger("proxy_core.plugins")

#: What is wrong with a result, in words that follow "returned"; empty if nothing is.
Wrong = Callable[[Any], str]
#: A function in a thread holds up no other request.
_IN_THREADS = 10
#: So many calls in a row that are over budget open the breaker: one may be the machine's doing.
_SLOW_CALLS = 3
_OPEN_S = 30.0


class Watch(Struct, eq=False):
    """One function's totals and its circuit breaker. ``budget_s``: what a call on the event loop may take."""

    site: Site
    faults: Faults
    clock: Clock
    budget_s: float | None
    #: What a step of an async function may take on the event loop.
    step_budget_s: float | None = None
    #: Whether each call is logged.
    trace: bool = False
    calls: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    failures: int = 0
    #: Calls in a row that were over budget.
    slow: int = 0
    #: When the next call may try; ``None`` while the breaker is closed.
    retry_at: float | None = None
    #: Redactors run in the log's thread and in the recorder's.
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def breaker(self) -> Literal["closed", "open", "half open"]:
        if self.retry_at is None:
            return "closed"
        return "open" if self.clock.monotonic() < self.retry_at else "half open"

    def admit(self) -> None:
        """Raises ``PluginFailed`` while the breaker is open; afterwards one call may try, before any other."""
        with self.lock:
            if self.retry_at is None:
                return
            now = self.clock.monotonic()
            if now >= self.retry_at:
                self.retry_at = now + _OPEN_S
                return
            left_s = self.retry_at - now
        cause = f"the circuit breaker of the {self.site} is open"
        error = failure(self.site, f"The {self.site} takes too long, so it is not called for now.", cause)
        error.status, error.kind, error.waiting_helps, error.retry_after_s = 503, "overloaded", True, left_s
        raise error

    def took(self, seconds: float) -> None:
        # Without the lock, as this is on every request's way: of two threads at the same call one may not be counted.
        self.calls += 1
        self.seconds += seconds
        if seconds > self.slowest_s:
            self.slowest_s = seconds
        if self.budget_s is not None and (self.slow or self.retry_at or seconds > self.budget_s):
            self._judge(seconds, self.budget_s)

    def _judge(self, seconds: float, budget_s: float) -> None:
        in_thread = threading.current_thread() is not threading.main_thread()
        most_s = budget_s * _IN_THREADS if in_thread else budget_s
        if seconds <= most_s and self.retry_at is not None:
            self.retry_at = None
            self._tell(logging.WARNING, f"the {self.site} is within its budget again: its circuit breaker is closed")
        if seconds <= budget_s:
            self.slow = 0
            return
        is_first, self.slow = not self.slow, self.slow + 1 if seconds > most_s else 1
        if self.slow >= _SLOW_CALLS:
            self.retry_at = self.clock.monotonic() + _OPEN_S
            words = f"took {seconds:.3g} s, over its budget of {most_s:g} s, {self.slow} times in a row"
            self._tell(logging.ERROR, f"the {self.site} {words}: it is not called for {_OPEN_S:g} s")
        elif is_first:
            words = f"after {_SLOW_CALLS} calls in a row of more than {most_s:g} s its circuit breaker opens"
            over = f"the {self.site} took {seconds:.3g} s, over its budget of {budget_s:g} s"
            self._tell(logging.WARNING, f"{over}; {words}")

    def stepped(self, seconds: float) -> None:
        """A step of an async function has taken so long. It has no circuit breaker: what it does would be lost."""
        is_over = self.step_budget_s is not None and seconds > self.step_budget_s
        if is_over and not self.slow:
            words = f"over its budget of {self.step_budget_s:g} s; such work belongs in a thread"
            self._tell(logging.WARNING, f"the {self.site} held up all requests for {seconds:.3g} s, {words}")
        self.slow = int(is_over)

    def _tell(self, level: int, line: str) -> None:
        log.log(level, "%s", line, extra=NAMES_ONLY)

    def raised(self, error: BaseException, call: Callable[..., Any], given: tuple[Any, ...]) -> PluginFailed:
        if isinstance(error, TypeError) and (what := unfit(call, given, error)):
            self.failures += 1
            return self.faults.unfit(self.site, call, what)
        return self.failed(error)

    def failed(self, error: BaseException, what: str = "") -> PluginFailed:
        self.failures += 1
        return self.faults.raised(self.site, error, what)

    def passes(self, error: BaseException) -> None:
        """Raises ``PluginFailed`` for an error that no client could be told."""
        if what := wrong_error(error):
            raise self.failed(error, what) from error

    def returned(self, call: Callable[..., Any], result: object, what: str) -> PluginFailed:
        self.failures += 1
        if inspect.iscoroutine(result):
            result.close()
            what = "a coroutine: it must be a plain function, not async"
        return self.faults.returned(self.site, call, what)


def watched(
    call: Callable[[*Ts], R], watch: Watch, wrong: Wrong, passes: tuple[type[Exception], ...] = (ProxyError,)
) -> Callable[[*Ts], R]:
    """``call``, measured; its exceptions but ``passes``, and wrong results, are raised as ``PluginFailed``."""
    lets_pass: tuple[type[BaseException], ...] = (KeyboardInterrupt, *passes)

    def run(*args: *Ts) -> R:
        if watch.retry_at is not None:
            watch.admit()
        began = perf_counter()
        try:
            result = call(*args)
        except lets_pass as error:
            watch.passes(error)
            raise
        except BaseException as error:  # a plugin may fail in any way, also with SystemExit or a library's panic
            raise watch.raised(error, call, args) from error
        finally:
            watch.took(perf_counter() - began)
        if what := wrong(result):
            raise watch.returned(call, result, what)
        return result

    run.__wrapped__ = call  # type: ignore[attr-defined]  # for inspect.unwrap, as functools.wraps sets it
    return traced(run, watch.site, name_of(call)) if watch.trace else run


def watched_async(
    call: Callable[[*Ts], Awaitable[R]], watch: Watch, wrong: Wrong, passes: tuple[type[Exception], ...] = ()
) -> Callable[[*Ts], Awaitable[R]]:
    """The same for a function that waits for others: its budget is for what it does without waiting."""
    lets_pass: tuple[type[Exception], ...] = (PluginFailed, *passes)

    async def run(*args: *Ts) -> R:
        began = perf_counter()
        try:
            waiting = call(*args)
            if not inspect.isawaitable(waiting):
                raise watch.returned(call, waiting, f"{described(waiting)}: it must be an async function")
            result = await (_in_steps(waiting, watch) if inspect.iscoroutine(waiting) else waiting)
        except lets_pass as error:
            watch.passes(error)
            raise
        except BaseException as error:  # a plugin may fail in any way
            if is_from_outside(error):
                raise
            raise watch.raised(error, call, args) from error
        finally:
            watch.took(perf_counter() - began)
        if what := wrong(result):
            raise watch.returned(call, result, what)
        return result

    run.__wrapped__ = call  # type: ignore[attr-defined]  # as above
    return traced_async(run, watch.site, name_of(call)) if watch.trace else run


@coroutine
def _in_steps(waiting: Coroutine[Any, Any, R], watch: Watch) -> Generator[Any, Any, R]:
    """The result of ``waiting``; each of its steps is measured."""
    resume: Callable[[], Any] = partial(waiting.send, None)
    while True:
        began = perf_counter()
        try:
            step = resume()
        except StopIteration as ended:
            result: R = ended.value
            return result
        except GeneratorExit as error:  # the plugin's own; one from outside arrives below
            raise watch.failed(error) from error
        finally:
            watch.stepped(perf_counter() - began)
        try:
            resume = partial(waiting.send, (yield step))
        except GeneratorExit:
            waiting.close()
            raise
        except BaseException as error:  # a cancellation, for example
            resume = partial(waiting.throw, error)


def instance_of(*expected: type) -> Wrong:
    """Wrong is whatever is of none of these types."""
    words = " or ".join("None" if one is type(None) else one.__name__ for one in expected)

    def wrong(result: object) -> str:
        return "" if isinstance(result, expected) else f"{described(result)}, not {words}"

    return wrong


def anything(result: object) -> str:
    return ""
