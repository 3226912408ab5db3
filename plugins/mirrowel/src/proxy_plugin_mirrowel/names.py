"""Environment variables of Mirrowel's LLM-API-Key-Proxy, and what each one sets here.

They are read without being asked for: a folder that worked with that proxy works with this one.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
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
FILTERS = tuple(PROVIDER_NAMES)
_OTHER_FORMS = ("IGNORE_MODELS_", "WHITELIST_MODELS_", "PROXY_")
_LOGIN = re.compile(r"(?P<name>[A-Z0-9_]+)_OAUTH_[0-9]+", re.ASCII)
_WORD = re.compile(r"(?P<key>[A-Z0-9_]+?_API_KEY)_(?!FILE$|PATH$)[A-Z0-9_]*[A-Z][A-Z0-9_]*", re.ASCII)

#: Variables that have an effect in Mirrowel's proxy but none here, with the reason.
WITHOUT_EFFECT: Mapping[str, str] = {
    "SMALL_COOLDOWN_RETRY_THRESHOLD": "a request waits for a cooldown to end whenever no other credential can serve it",
    "STREAM_RETRY_ON_REASONING_ONLY": "a request is never retried once its response has begun",
    "SKIP_OAUTH_INIT_CHECK": "credentials are not tested at startup",
    "MODEL_INFO_REFRESH_INTERVAL": "prices and limits come from the model catalogs of plugins",
    "SUPPRESS_LITELLM_SERIALIZATION_WARNINGS": "these warnings are never printed",
}

#: Further ones by the form of their names, with a pattern and the reason.
FORMS_WITHOUT_EFFECT: Mapping[str, tuple[str, str]] = {
    "<NAME>_QUOTA_REFRESH_INTERVAL": (
        r"(?!GEMINI_CLI_)[A-Z0-9_]+_QUOTA_REFRESH_INTERVAL",
        "quotas of this provider are asked for every five minutes, if it can be asked",
    ),
    "DEEPSEEK_REASONING_CACHE_<TTL>": (
        r"DEEPSEEK_REASONING_CACHE_(?:DISK_)?TTL",
        "thoughts before calls of tools are kept in memory for an hour, and a placeholder stands for others",
    ),
    "GEMINI_CLI_<WORDING>": (
        r"GEMINI_CLI_(?:GEMINI3_[A-Z_]+|UA_VERSION|PLATFORM_ARCH|NODE_CLIENT_VERSION|GL_NODE_VERSION|ACCEPT_ENCODING)",
        "requests to Google are worded in another way, under the name of this proxy",
    ),
    "GEMINI_CLI_<SIGNATURES>": (
        r"GEMINI_CLI_(?:PRESERVE_THOUGHT_SIGNATURES|ENABLE_SIGNATURE_CACHE|SIGNATURE_DISK_TTL|ENABLE_JSON_STRING_PARSING)",
        "signatures of thoughts are always kept, and calls are passed on as they are",
    ),
}


def why_without_effect(name: str) -> str | None:
    """The reason; ``None`` if it is not one of these names."""
    forms = (why for pattern, why in FORMS_WITHOUT_EFFECT.values() if re.fullmatch(pattern, name))
    return WITHOUT_EFFECT.get(name) or next(forms, None)


def proxy_settings(variables: Variables) -> FoundSettings:
    """What these variables set for the whole proxy."""
    table: dict[str, dict[str, Any]] = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, (section, key) in PROXY_NAMES.items():
        if name in variables:
            table.setdefault(section, {})[key] = variables[name].value
            origins[section, key] = str(variables[name])
    known = [*(name for name in WITHOUT_EFFECT if name in variables), *sorted(variables.keys() - WITHOUT_EFFECT.keys())]
    unused = [f"{name} has no effect: {why}" for name in known if (why := why_without_effect(name))]
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
    """A line for each variable that is meant for a provider, but for none of these; and one about the old folder."""
    nobodys = of_unknown_provider(variables, providers)
    lines = [f"{name} is not used: no provider or setting has that name" for name in nobodys]
    lines += [f"{name} is not used: a key's name ends with its number: {base}_2" for name, base in _words(variables)]
    lines += [
        f"{name} is not read: `proxy-core credentials import {provider} FILE` takes over such a file once"
        for name, provider in _logins(variables)
    ]
    return [*lines, *_old_folders(variables)]


def of_unknown_provider(variables: Variables, providers: Collection[str]) -> list[str]:
    """The variables about rotation, filters and models whose names have none of ``providers``. Lists of models only
    from files: many programs have variables like ``MY_MODELS``."""
    _, rotation = rotation_readings(variables, providers)
    known = {environment_name(name) for name in providers}
    filters = [
        name
        for name, variable in variables.items()
        for form in FILTERS
        if (named := _named(form, name)) and named not in known and (variable.file or not form.startswith("<NAME>"))
    ]
    return sorted({*rotation, *filters})


def _named(form: str, name: str) -> str:
    """The provider in a name of this form; empty if it has another form."""
    before, _, after = form.partition("<NAME>")
    fits = name.startswith(before) and name.endswith(after) and not (after and name.startswith(_OTHER_FORMS))
    return name[len(before) : len(name) - len(after)] if fits else ""


def _words(variables: Variables) -> list[tuple[str, str]]:
    """Keys with a word after their names, from files; not those that hold the place of a key."""
    found = [(name, _WORD.fullmatch(name)) for name, variable in sorted(variables.items()) if variable.file]
    return [(name, match["key"]) for name, match in found if match]


def _logins(variables: Variables) -> list[tuple[str, str]]:
    """Variables that name a file with a login, each with the provider."""
    found = [(name, _LOGIN.fullmatch(name)) for name in sorted(variables)]
    return [(name, match["name"].lower()) for name, match in found if match]


def _old_folders(variables: Variables) -> Iterator[str]:
    folders = {variable.file.parent for variable in variables.values() if variable.file}
    with suppress(OSError):  # it may be gone
        folders.add(Path.cwd())
    for folder in sorted(folders):
        if found := marks(folder):
            found += sorted(file.name for file in folder.glob("*.env") if file.name != ".env")
            yield (
                f"{folder} is a folder of Mirrowel's proxy, and {', '.join(found)} in it are not read: "
                f"`proxy-core import mirrowel {shlex.quote(str(folder))}` shows what it would take over"
            )


def marks(folder: Path) -> list[str]:
    """The files by which such a folder is known, and which a start does not read."""
    found = [
        name for name in ("oauth_creds", "launcher_config.json", "key_usage.json") if os.path.exists(folder / name)
    ]
    return found + sorted(f"usage/{path.name}" for path in folder.glob("usage/usage_*.json"))


SOURCE = SettingsSource(
    proxy=proxy_settings,
    provider=provider_settings,
    unmatched=unmatched,
    names=[name for name in PROXY_NAMES if name.startswith("PROXY_")],
    may_be_empty=[MAY_BE_EMPTY],
)
