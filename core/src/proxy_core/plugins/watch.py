"""Watches a plugin's functions: their time, what they raise and return, and the circuit breaker of one that is slow."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Literal, TypeVar, TypeVarTuple

from msgspec import Struct, field

from proxy_core.clock import Clock
from proxy_core.errors import PluginFailed, ProxyError
from proxy_core.plugins.faults import Faults, Site, described, failure
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
        with self.lock:
            self.calls += 1
            self.seconds += seconds
            if seconds > self.slowest_s:
                self.slowest_s = seconds
        if self.budget_s is not None and (self.slow or self.retry_at or seconds > self.budget_s):
            self._judge(seconds, self.budget_s)

    def _judge(self, seconds: float, budget_s: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            budget_s *= _IN_THREADS
        if seconds <= budget_s:
            if self.retry_at is not None:
                log.warning("the %s is within its budget again: its circuit breaker is closed", self.site)
            self.slow, self.retry_at = 0, None
            return
        self.slow += 1
        words = f"the {self.site} took {seconds:.3g} s, over its budget of {budget_s:g} s"
        if self.slow >= _SLOW_CALLS:
            self.retry_at = self.clock.monotonic() + _OPEN_S
            log.error("%s, %d times in a row: it is not called for %g s",
                      words, self.slow, _OPEN_S)  # fmt: skip
        elif self.slow == 1:
            log.warning("%s; [plugins] budget_s sets it; after %d such calls in a row its circuit breaker opens",
                        words, _SLOW_CALLS)  # fmt: skip

    def raised(self, error: BaseException) -> PluginFailed:
        self.failures += 1
        return self.faults.raised(self.site, error)

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

    def run(*args: *Ts) -> R:
        if watch.retry_at is not None:
            watch.admit()
        began = perf_counter()
        try:
            result = call(*args)
        except passes:
            raise
        except Exception as error:  # a plugin may fail in any way
            raise watch.raised(error) from error
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
    """The same for a function that waits for others: it has no budget."""
    lets_pass: tuple[type[Exception], ...] = (PluginFailed, *passes)

    async def run(*args: *Ts) -> R:
        began = perf_counter()
        try:
            waiting = call(*args)
            if not inspect.isawaitable(waiting):
                raise watch.returned(call, waiting, f"{described(waiting)}: it must be an async function")
            result = await waiting
        except lets_pass:
            raise
        except Exception as error:  # a plugin may fail in any way
            raise watch.raised(error) from error
        finally:
            watch.took(perf_counter() - began)
        if what := wrong(result):
            raise watch.returned(call, result, what)
        return result

    return traced_async(run, watch.site, name_of(call)) if watch.trace else run


def instance_of(*expected: type) -> Wrong:
    """Wrong is whatever is of none of these types."""
    words = " or ".join("None" if one is type(None) else one.__name__ for one in expected)

    def wrong(result: object) -> str:
        return "" if isinstance(result, expected) else f"{described(result)}, not {words}"

    return wrong


def anything(result: object) -> str:
    return ""
