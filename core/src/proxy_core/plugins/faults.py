"""What plugins do wrong: one line per cause in the log, with the traceback, and an error that names the plugin."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from msgspec import Struct

from proxy_core.errors import PluginFailed

log = logging.getLogger("proxy_core.plugins")
#: Causes are made of the plugins' own names and lines; this only bounds what a strange plugin could make of them.
_MOST_CAUSES = 1_000


#: What reads better in a sentence than the name of the field.
_ROLES = {
    "classify_failure": "failure classifier",
    "decode_of_dialect": "decoder of requests of dialect",
    "encode_error_of_dialect": "encoder of errors of dialect",
    "stream_error_of_dialect": "encoder of stream errors of dialect",
    "decode_embeddings": "decoder of embeddings",
    "dialects_of": "dialects_of function",
    "encode": "encoder",
    "list_models": "list of models",
    "read_quota": "reader of quotas",
    "send": "sender",
}


class Site(Struct, frozen=True, kw_only=True):
    """A function of a plugin: ``role`` says what it is (``sanitizer``), ``name`` which one."""

    plugin: str
    role: str
    name: str

    def __str__(self) -> str:
        role = _ROLES.get(self.role, self.role.replace("_", " "))
        return f"{role} {self.name!r} of plugin {self.plugin!r}" if self.name else f"{role} of plugin {self.plugin!r}"


class Faults:
    """Told of every failure; logs each cause once. ``modules``: the top-level module of each plugin, to plugin."""

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self._told: set[tuple[object, ...]] = set()

    def raised(self, site: Site, error: BaseException, what: str = "") -> PluginFailed:
        """The error for the client when ``error`` left a plugin's function. ``what`` is wrong in an error itself."""
        kind = type(error).__name__
        place = self._place(site.plugin, error.__traceback__)
        if self._is_new(site, type(error), place):
            log.error(
                "the %s raised %s%s%s; its author has to fix it; further failures with this cause are only counted",
                *(site, kind, f" with {what}" if what else "", f" in {place}" if place else ""),
                exc_info=error,
                extra=NAMES_ONLY,
            )
        wrong = f" with {what}" if what else ""
        return _failed(site, f"raised {kind}{wrong}", f"{kind} in the {site}{wrong}")

    def returned(self, site: Site, call: Callable[..., Any], what: str) -> PluginFailed:
        """The error for the client when a function's result is wrong; ``what``: the result, and what was expected."""
        return self.unfit(site, call, f"returned {what}")

    def unfit(self, site: Site, call: Callable[..., Any], what: str) -> PluginFailed:
        """The error for the client when a function is not one that the core can use."""
        if self._is_new(site, what, ""):
            place = place_of(call)
            log.error(
                "the %s %s%s; its author has to fix it; further failures with this cause are only counted",
                *(site, what, f" ({place})" if place else ""),
                extra=NAMES_ONLY,
            )
        return _failed(site, what, f"TypeError: the {site} {what}")

    def blamed(self, error: BaseException) -> PluginFailed | None:
        """The same for an exception of which only its traceback tells whether it comes from a plugin."""
        owners = [self.modules[root] for root, _ in _frames(error.__traceback__) if root in self.modules]
        if not owners:
            return None
        return self.raised(Site(plugin=owners[-1], role="code", name=""), error)

    def _place(self, plugin: str, trace: TracebackType | None) -> str:
        """Where in the plugin's own file it happened; else in the last file that is not the core's."""
        frames = [(root, where) for root, where in _frames(trace) if root != "proxy_core"]
        own = [where for root, where in frames if self.modules.get(root) == plugin]
        return (own or [where for _, where in frames] or [""])[-1]

    def _is_new(self, *cause: object) -> bool:
        if cause in self._told or len(self._told) >= _MOST_CAUSES:
            return False
        self._told.add(cause)
        return True


#: For a line that consists of names and places: no redactor needs to see it, and none can withhold it.
NAMES_ONLY: Mapping[str, Any] = {"names_only": True}


#: What another provider could do instead.
_OF_PROVIDERS = frozenset({"dialects_of", "encode", "decoder", "listener", "decode_embeddings", "read_quota", "send"})


def failure(site: Site, message: str, cause: str) -> PluginFailed:
    error = PluginFailed(message)
    error.cause, error.replaceable = cause, site.role in _OF_PROVIDERS
    return error


def _failed(site: Site, what: str, cause: str) -> PluginFailed:
    return failure(site, f"The {site} {what}. The plugin's author has to fix it; the proxy's log shows where.", cause)


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, str]]:
    """The top-level module and the place of each frame, outermost first."""
    while trace is not None:
        yield _root(trace.tb_frame), f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next


def own_frames(error: BaseException) -> BaseException:
    """The error of a plugin's import or hook, without the frames that lead to the plugin."""
    trace = error.__traceback__
    while trace is not None and _root(trace.tb_frame) in ("proxy_core", "importlib", "pluggy"):
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def is_cancellation(error: BaseException) -> bool:
    """Whether the current task is being cancelled. A plugin may raise ``CancelledError`` by itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def is_from_outside(error: BaseException) -> bool:
    """Whether a plugin's function that was awaited is not at fault: it is cancelled or closed, or the program ends."""
    return isinstance(error, GeneratorExit | KeyboardInterrupt) or is_cancellation(error)


def place_of(call: object) -> str:
    """Where a function is defined; empty if that cannot be told."""
    found = inspect.unwrap(call) if callable(call) else call
    found = getattr(found, "__func__", found)
    code = getattr(found, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def unfit(call: Callable[..., Any], given: tuple[Any, ...], error: BaseException) -> str:
    """That the function cannot be called with so many arguments, if that is why the call failed at once; else empty."""
    if any(root != "proxy_core" for root, _ in _frames(error.__traceback__)):
        return ""  # it was called
    with suppress(ValueError, TypeError):
        signature = inspect.signature(call)
        try:
            signature.bind(*given)
        except TypeError:
            taken = len(signature.parameters)
            return f"takes {taken} argument{'s' * (taken != 1)}, but is called with {len(given)}"
    return ""


def described(value: object) -> str:
    """A wrong result in a few words: its type, never its content."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    cls = type(value)
    before = "" if cls.__module__ == "builtins" else "object of class "
    return "None" if value is None else with_article(cls.__name__, before)


def with_article(name: str, before: str = "") -> str:
    words = before + name
    return f"{'an' if words[0] in 'aeiouAEIOU' and not words.startswith('Us') else 'a'} {words}"


def modules_of(plugins: Iterable[tuple[str, str]]) -> dict[str, str]:
    """``(plugin, module)`` pairs as top-level module to plugin."""
    return {module.partition(".")[0]: plugin for plugin, module in plugins if module}
