"""A plugin that is built in a test, without a package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import API, PluginContext, PluginInfo
from proxy_core.plugins.loader import Context
from proxy_core.plugins.plugin import Module
from proxy_core.settings.loading import load


def plugin_with(**hooks: Sequence[Any]) -> Module:
    """A plugin named ``tested`` whose hooks return these: ``plugin_with(proxy_sanitizers=[...])``."""
    members: dict[str, Any] = {"PLUGIN": PluginInfo(name="tested", api=API)}
    for name, brought in hooks.items():
        members[name] = staticmethod(hookimpl(_bringing(brought)))
    module: Module = type("Tested", (), members)  # type: ignore[assignment]  # a class serves as a module
    return module


def _bringing(brought: Sequence[Any]) -> Callable[[PluginContext], Sequence[Any]]:
    def hook(ctx: PluginContext) -> Sequence[Any]:
        return brought

    return hook


def plugin_context(
    plugin: str,
    settings: Mapping[str, Any] | None = None,
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    reserved: Iterable[str] = (),
    active: Iterable[str] = (),
) -> PluginContext:
    """The argument of a plugin's hooks. ``reserved`` are the names of other plugins' providers, ``active`` theirs."""
    loaded = load(overrides=dict(settings or {}), environ=dict(environ or {}), cwd=folder)
    return Context(plugin, loaded, frozenset(reserved), frozenset(active))
