"""Environment variables of Mirrowel's LLM-API-Key-Proxy, and what each one sets here.

They are read without being asked for: a folder that worked with that proxy works with this one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy_core import AskedProvider, FoundSettings, SettingsSource, Variables, environment_name
from proxy_plugin_mirrowel.rotation_names import MAY_BE_EMPTY, rotation_readings, rotation_settings

#: Names that set one key for the whole proxy.
PROXY_NAMES: Mapping[str, tuple[str, ...]] = {
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
}

#: Names that set one key of a provider.
PROVIDER_NAMES: Mapping[str, str] = {
    "<NAME>_MODELS": "models",
    "IGNORE_MODELS_<NAME>": "exclude_models",
    "WHITELIST_MODELS_<NAME>": "include_models",
}

#: Variables that have an effect in Mirrowel's proxy but none here, with the reason.
WITHOUT_EFFECT: Mapping[str, str] = {
    "SMALL_COOLDOWN_RETRY_THRESHOLD": "a request waits for a cooldown to end whenever no other credential can serve it",
    "STREAM_RETRY_ON_REASONING_ONLY": "a request is never retried once its response has begun",
    "SKIP_OAUTH_INIT_CHECK": "credentials are not tested at startup",
}


def proxy_settings(variables: Variables) -> FoundSettings:
    """What these variables set for the whole proxy."""
    table: dict[str, dict[str, Any]] = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, (section, key) in PROXY_NAMES.items():
        if name in variables:
            table.setdefault(section, {})[key] = variables[name].value
            origins[section, key] = str(variables[name])
    unused = [f"{name} has no effect: {why}" for name, why in WITHOUT_EFFECT.items() if name in variables]
    return FoundSettings(table=table, origins=origins, unused=unused)


def provider_settings(variables: Variables, asked: AskedProvider) -> FoundSettings:
    """What they set for one provider."""
    table: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for form, key in PROVIDER_NAMES.items():
        variable = variables.get(form.replace("<NAME>", environment_name(asked.name)))
        if variable is not None:
            table[key], origins["providers", asked.name, key] = variable.value, str(variable)
    rotation = rotation_settings(variables, asked)
    if rotation.table:
        table["rotation"] = rotation.table
    return FoundSettings(table=table, origins={**origins, **rotation.origins}, unused=rotation.unused)


def unmatched(variables: Variables, providers: Collection[str]) -> list[str]:
    """A line for each variable about rotation that is for none of ``providers``."""
    _, names = rotation_readings(variables, providers)
    return [f"{name} is not used: no provider or setting has that name" for name in names]


SOURCE = SettingsSource(
    proxy=proxy_settings,
    provider=provider_settings,
    unmatched=unmatched,
    names=[name for name in PROXY_NAMES if name.startswith("PROXY_")],
    may_be_empty=[MAY_BE_EMPTY],
)
