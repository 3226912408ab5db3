"""The one place that imports litellm and sets what is global in it."""

from __future__ import annotations

import logging
import os
import threading
from importlib import import_module
from types import ModuleType

_lock = threading.Lock()
_loaded: ModuleType | None = None

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


def library() -> ModuleType:
    """litellm, imported and silenced on first use. Takes seconds then; call it from a thread, never from the event loop."""
    global _loaded
    with _lock:
        if _loaded is None:
            # Unset, importing it asks the network for a table of prices.
            os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
            module = import_module("litellm")
            _silence(module)
            _loaded = module
    return _loaded


def _silence(litellm: ModuleType) -> None:
    """No telemetry, no callbacks, no printing, no retries of its own, nothing kept of what is sent."""
    litellm.suppress_debug_info = True
    litellm.set_verbose = False
    litellm.telemetry = False
    litellm.turn_off_message_logging = True
    litellm.num_retries = 0
    litellm.drop_params = True
    litellm.modify_params = False
    litellm.cache = None
    for name in _CALLBACKS:
        setattr(litellm, name, [])
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
