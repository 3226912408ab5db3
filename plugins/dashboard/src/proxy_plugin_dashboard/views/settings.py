"""Settings: every value with its origin, what would change, a check, and a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from proxy_core import PageResponse, SetupError
from proxy_core.cli.api import LoadedSettings, catalog_of, lines_of, needs_restart
from proxy_plugin_dashboard.own_calls import Refused, tell
from proxy_plugin_dashboard.page import Asked, Page, notice
from proxy_plugin_doctor import Value, check_settings, effective_values

_MOST = 30


class Change(Struct, frozen=True, kw_only=True):
    """A value that the next reload, or only a restart, would change. Secrets are masked in both."""

    key: str
    now: str
    new: str
    restart: bool


class SettingsModel(Struct, frozen=True, kw_only=True):
    rows: Sequence[Value]
    found: int
    total: int
    is_set: int
    changes: Sequence[Change]
    problems: Sequence[str]
    q: str
    every: bool
    file: str
    data_dir: str


def settings_model(
    now: Sequence[Value],
    new: Sequence[Value],
    problems: Sequence[str],
    loaded: LoadedSettings,
    query: Mapping[str, str],
) -> SettingsModel:
    """``now``: the values in effect; ``new``: those that the next start would use, empty if it has ``problems``."""
    q, every = query.get("q", "").strip(), query.get("all", "") == "1"
    rows = [value for value in now if (every or q or value.origin is not None) and _matches(value, q)]
    return SettingsModel(
        rows=rows,
        found=len(rows),
        total=len(now),
        is_set=sum(value.origin is not None for value in now),
        changes=list(_changes(now, new)) if new else [],
        problems=problems,
        q=q,
        every=every,
        file=str(loaded.sources.file or ""),
        data_dir=str(loaded.data_dir),
    )


def _matches(value: Value, q: str) -> bool:
    text = f"{value.key} {value.shown} {value.origin or 'default'}".lower()
    return all(word in text for word in q.lower().split())


def _changes(now: Sequence[Value], new: Sequence[Value]) -> Iterator[Change]:
    before, after = {value.key: value for value in now}, {value.key: value for value in new}
    for key in sorted({*before, *after}):
        old, then = before.get(key), after.get(key)
        if old is not None and then is not None and old.compared == then.compared:
            continue
        shown = [each.shown if each is not None else "not set" for each in (old, then)]
        new_words = "a different secret" if shown[0] == shown[1] else shown[1]
        yield Change(key=key, now=shown[0], new=new_words, restart=needs_restart(key))


async def show(asked: Asked) -> Mapping[str, object]:
    # In a thread: it reads files, and asks every plugin what it provides.
    return {"settings": await asyncio.to_thread(_read, asked)}


def _read(asked: Asked) -> SettingsModel:
    loaded = asked.request.settings
    now, problems = _values(loaded)
    new: Sequence[Value] = ()
    try:
        again = asked.request.read_settings()
        new, more = _values(again)
        problems = [*problems, *more]
    except SetupError as error:
        problems = [*problems, *lines_of(error)]
    return settings_model(now, new, list(dict.fromkeys(problems)), loaded, asked.query)


def _values(loaded: LoadedSettings) -> tuple[Sequence[Value], Sequence[str]]:
    try:
        return effective_values(loaded, catalog_of(loaded), defaults=True), ()
    except SetupError as error:
        return (), lines_of(error)


# --- Actions -----------------------------------------------------------------------------


async def check_now(asked: Asked) -> PageResponse:
    """What ``proxy-core config check`` does, with what the next start would read."""
    problems, warnings = await asyncio.to_thread(_checked, asked)
    lines = [*(f"Problem: {line}" for line in problems), *(f"Warning: {line}" for line in warnings)]
    if problems:
        return await notice(
            False, "The settings have problems; the proxy goes on with those in effect.", *lines[:_MOST]
        )
    return await notice(True, "The settings are valid" + (", with warnings." if warnings else "."), *lines[:_MOST])


def _checked(asked: Asked) -> tuple[Sequence[str], Sequence[str]]:
    try:
        return check_settings(asked.request.read_settings())
    except SetupError as error:
        return lines_of(error), ()


async def reload(asked: Asked) -> PageResponse:
    try:
        processes = (await tell(asked.request, "/admin/reload"))["processes"]
    except Refused as refused:
        processes = refused.body.get("processes", ()) if isinstance(refused.body, dict) else ()
        problems = _each(processes, "problems") or [str(refused)]
        some = any(process.get("reloaded") for process in processes)
        how = "Not every process uses the new ones" if some else "Nothing was changed"
        return await notice(False, f"{how}: the settings have problems.", *problems[:_MOST])
    lines = [f"Changed: {key}" for key in _each(processes, "changed")]
    lines += [f"Needs a restart: {key}" for key in _each(processes, "needs_restart")]
    lines += [f"Warning: {line}" for line in _each(processes, "warnings")]
    how = "The settings were read again" + ("." if _each(processes, "changed") else "; nothing has changed.")
    return await notice(True, how, *lines[:_MOST])


def _each(processes: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(line for process in processes for line in process.get(name, ())))


PAGE = Page(name="settings", title="Settings", show=show, post={"check": check_now, "reload": reload})
