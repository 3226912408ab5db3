"""Plugins: which are active and why the others are not, what each brings, how long it takes and how often it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from proxy_core import PluginStatus, PluginTime, ProcessStatus
from proxy_plugin_dashboard.page import Asked, Page

Tone = Literal["good", "warn", "bad", "calm"]


class Function(Struct, frozen=True, kw_only=True):
    """One function of a plugin, in all workers together."""

    name: str
    calls: int
    seconds: float
    slowest_s: float
    failures: int
    breaker: str

    @property
    def mean_s(self) -> float:
        return self.seconds / self.calls if self.calls else 0.0


class Row(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    distribution: str
    tone: Tone
    state: str
    reason: str
    hooks: Sequence[str]
    load_s: float
    functions: Sequence[Function]

    @property
    def failures(self) -> int:
        return sum(function.failures for function in self.functions)

    @property
    def is_open(self) -> bool:
        """Whether a function is not called for now, because it took too long."""
        return any(function.breaker != "closed" for function in self.functions)


class PluginsModel(Struct, frozen=True, kw_only=True):
    rows: Sequence[Row]
    active: int
    skipped: int
    failing: int


def plugins_model(statuses: Sequence[ProcessStatus]) -> PluginsModel:
    """What needs the operator comes first."""
    times = _times(statuses)
    rows = [_row(plugin, times.get(plugin.name, [])) for plugin in statuses[0].plugins]
    rows.sort(key=lambda row: (("bad", "warn", "good", "calm").index(row.tone), row.name))
    return PluginsModel(
        rows=rows,
        active=sum(row.state == "active" for row in rows),
        skipped=sum(row.state == "skipped" for row in rows),
        failing=sum(bool(row.failures or row.is_open) for row in rows),
    )


def _times(statuses: Sequence[ProcessStatus]) -> Mapping[str, list[Function]]:
    found: dict[tuple[str, str, str], list[PluginTime]] = {}
    for time in (time for status in statuses for time in status.plugin_times):
        found.setdefault((time.plugin, time.role, time.name), []).append(time)
    by_plugin: dict[str, list[Function]] = {}
    for (plugin, role, name), times in sorted(found.items()):
        by_plugin.setdefault(plugin, []).append(_function(role, name, times))
    return by_plugin


def _function(role: str, name: str, times: Sequence[PluginTime]) -> Function:
    return Function(
        name=f"{role.replace('_', ' ')} {name}",
        calls=sum(time.calls for time in times),
        seconds=sum(time.seconds for time in times),
        slowest_s=max(time.slowest_s for time in times),
        failures=sum(time.failures for time in times),
        breaker=next((time.breaker for time in times if time.breaker != "closed"), "closed"),
    )


def _row(plugin: PluginStatus, functions: Sequence[Function]) -> Row:
    troubled = any(function.failures or function.breaker != "closed" for function in functions)
    tone: Tone = "bad" if plugin.state == "skipped" else "calm" if plugin.state != "active" else "good"
    if tone == "good" and (troubled or plugin.reason):
        tone = "warn"
    return Row(
        name=plugin.name,
        version=plugin.version,
        distribution=plugin.distribution,
        tone=tone,
        state=plugin.state,
        reason=plugin.reason,
        hooks=[hook.removeprefix("proxy_").replace("_", " ") for hook in plugin.hooks],
        load_s=plugin.load_s,
        functions=functions,
    )


async def show(asked: Asked) -> Mapping[str, object]:
    return {"plugins": plugins_model(asked.statuses)}


PAGE = Page(name="plugins", title="Plugins", show=show, live=("list",))
