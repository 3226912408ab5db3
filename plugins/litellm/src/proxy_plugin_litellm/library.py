"""The one place that imports litellm, sets what is global in it, and runs it: in a thread of its own.

Importing it takes seconds, its first calls import more, and some of its providers (Bedrock's roles, Vertex's
tokens) wait for the network without giving way. None of that happens on the proxy's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")

#: litellm's loggers. Their own handlers write past the program log, and so past its filter of secrets.
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_CALLBACKS = (
    "callbacks",
    "input_callback",
    "success_callback",
    "failure_callback",
    "service_callback",
    "_async_input_callback",
    "_async_success_callback",
    "_async_failure_callback",
)


class Library:
    """litellm on an event loop of its own, started and imported on first need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._litellm: Any = None

    async def run(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """``call(litellm)``, awaited over there. Cancelled there when it is cancelled here."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._with_litellm(call), self._started()))

    async def _with_litellm(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        if self._litellm is None:
            self._litellm = _imported()
        return await call(self._litellm)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: nothing of ours is in there when the proxy ends, for the core has cancelled it.
                threading.Thread(target=self._loop.run_forever, name="litellm", daemon=True).start()
            return self._loop


#: Its state is global, so there is one.
LIBRARY = Library()


def _imported() -> Any:
    # Unset, importing it asks the network for a table of prices.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm = import_module("litellm")
    _silence(litellm)
    return litellm


def _silence(litellm: Any) -> None:
    """No telemetry, no callbacks, no printing, no retries of its own, nothing kept of what is sent."""
    litellm.suppress_debug_info = True
    litellm.set_verbose = False
    litellm.telemetry = False
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    litellm.drop_params = True  # what one of its providers has no word for is left out, not refused
    litellm.modify_params = False
    litellm.cache = None
    # Said on the console, with what was sent or received in them.
    warnings.filterwarnings("ignore", message=".*(ReadOnly|Pydantic serializer)", category=UserWarning)
    for name in _CALLBACKS:
        setattr(litellm, name, [])
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
