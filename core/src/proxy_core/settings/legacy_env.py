"""Environment variables of Mirrowel's LLM-API-Key-Proxy, which this proxy replaces, and what each one sets here.

The functions take variables and return raw tables with the origin of each value. ``loading.py`` merges and
validates them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_core.settings.base import environment_name

#: Where each key was set, for error messages.
Origins = dict[tuple[str, ...], str]

#: Names that set one key for the whole proxy.
COMPATIBLE_NAMES: Mapping[str, tuple[str, ...]] = {
    "PROXY_API_KEY": ("clients", "default", "key"),
    "OAUTH_REFRESH_INTERVAL": ("credentials", "refresh_interval_s"),
    "TIMEOUT_CONNECT": ("timeouts", "connect_s"),
    "TIMEOUT_WRITE": ("timeouts", "write_s"),
    "TIMEOUT_POOL": ("timeouts", "pool_s"),
    "TIMEOUT_READ_NON_STREAMING": ("timeouts", "first_event_s"),
    "TIMEOUT_READ_STREAMING": ("timeouts", "idle_s"),
    "GLOBAL_TIMEOUT": ("routing", "max_wait_s"),
    "TRANSIENT_RETRY_DELAY": ("routing", "retry_delay_s"),
    "TRANSIENT_RETRY_JITTER": ("routing", "retry_jitter_s"),
    "PROXY_DEBUG_LOG": ("log", "debug"),
    "OVERRIDE_TEMPERATURE_ZERO": ("sanitizers", "temperature_zero"),
}

#: Variables that have an effect in Mirrowel's proxy but none here, with the reason.
WITHOUT_EFFECT: Mapping[str, str] = {
    "SMALL_COOLDOWN_RETRY_THRESHOLD": "a request waits for a cooldown to end whenever no other credential can serve it",
    "STREAM_RETRY_ON_REASONING_ONLY": "a request is never retried once its response has begun",
    "SKIP_OAUTH_INIT_CHECK": "credentials are not tested at startup",
}

_API_KEY = re.compile(r"(?P<name>[A-Z0-9_]+?)_API_KEY(?:_(?P<n>[0-9]+))?", re.ASCII)
_API_BASE = re.compile(r"(?P<name>[A-Z0-9_]+)_API_BASE", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable that sets something, and the file it was read from, if any."""

    name: str
    value: str = field(repr=False)
    file: Path | None = None

    def __str__(self) -> str:
        return f"environment variable {self.name}" + (f" ({self.file})" if self.file else "")


Variables = Mapping[str, Variable]


def proxy_table(variables: Variables) -> tuple[dict[str, Any], Origins]:
    """The settings that the variables in ``COMPATIBLE_NAMES`` set."""
    table: dict[str, Any] = {}
    origins: Origins = {}
    for name, path in COMPATIBLE_NAMES.items():
        if name in variables:
            node = table
            for key in path[:-1]:
                node = node.setdefault(key, {})
            node[path[-1]] = variables[name].value
            origins[path] = str(variables[name])
    return table, origins


# --- Providers ---------------------------------------------------------------------------


def provider_table(variables: Variables, name: str) -> tuple[dict[str, Any], Origins]:
    """``[providers.<name>]`` without its rotation."""
    prefix = environment_name(name)
    found: dict[str, Any] = {}
    origins: Origins = {}
    simple = {
        "base_url": f"{prefix}_API_BASE",
        "models": f"{prefix}_MODELS",
        "exclude_models": f"IGNORE_MODELS_{prefix}",
        "include_models": f"WHITELIST_MODELS_{prefix}",
    }
    for key, variable in simple.items():
        if variable in variables:
            found[key] = variables[variable].value
            origins["providers", name, key] = str(variables[variable])
    keys = key_variables(variables, name)
    if keys:
        # The same key under two names is one credential.
        found["api_keys"] = list(dict.fromkeys(v.value for v in keys))
        origins["providers", name, "api_keys"] = ", ".join(str(v) for v in keys)
    return found, origins


def key_variables(variables: Variables, provider: str) -> list[Variable]:
    """``<NAME>_API_KEY`` and ``<NAME>_API_KEY_<n>``, by number."""
    prefix, found = environment_name(provider), []
    for name, variable in variables.items():
        match = _API_KEY.fullmatch(name)
        if match and match["name"] == prefix:
            found.append((int(match["n"] or 0), variable))
    return [variable for _, variable in sorted(found, key=lambda pair: pair[0])]


def is_key_variable(name: str) -> bool:
    """Whether a variable's name looks like that of an API key."""
    return _API_KEY.fullmatch(name) is not None


def based_providers(variables: Variables, prefix: str) -> list[str]:
    """Names of providers defined by ``<NAME>_API_BASE``; variables with our own ``prefix`` do not define any."""
    names = (m["name"] for n in variables if (m := _API_BASE.fullmatch(n)) and not n.startswith(prefix))
    return sorted(name.lower() for name in names)
