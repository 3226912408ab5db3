"""The only module that imports litellm, sets its global state, and runs it, in a thread of its own.

Importing litellm takes seconds, its first calls import more, and some of its providers (Bedrock's roles, Vertex's
tokens) block on the network. None of that happens on the proxy's event loop.
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

#: litellm's loggers. Their own handlers bypass the program log and therefore its secret filter.
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
    """litellm on its own event loop; both are started and imported when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._litellm: Any = None

    async def run(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Await ``call(litellm)`` on that loop. Cancelling this also cancels the call there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._with_litellm(call), self._started()))

    async def _with_litellm(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        if self._litellm is None:
            self._litellm = _imported()
        return await call(self._litellm)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon thread: when the proxy shuts down, the core has already cancelled all calls there.
                threading.Thread(target=self._loop.run_forever, name="litellm", daemon=True).start()
            return self._loop


#: litellm's state is global, so there is only one.
LIBRARY = Library()


def _imported() -> Any:
    # Unless this is set, importing litellm downloads a table of prices.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm = import_module("litellm")
    _silence(litellm)
    return litellm


def _silence(litellm: Any) -> None:
    """Turn off telemetry, callbacks, printing and litellm's own retries, and keep none of the traffic."""
    litellm.suppress_debug_info = True
    litellm.set_verbose = False
    litellm.telemetry = False
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    litellm.drop_params = True  # drop parameters that a provider does not know, instead of refusing the request
    litellm.modify_params = False
    litellm.cache = None
    # These warnings go to the console and contain parts of requests and responses.
    warnings.filterwarnings("ignore", message=".*(ReadOnly|Pydantic serializer)", category=UserWarning)
    for name in _CALLBACKS:
        setattr(litellm, name, [])
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
