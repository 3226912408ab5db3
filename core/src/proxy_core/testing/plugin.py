"""A plugin put together in a test, without a package around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import API, PluginContext, PluginInfo
from proxy_core.plugins.loader import Module


def plugin_with(**hooks: Sequence[Any]) -> Module:
    """A plugin named ``tested`` whose hooks bring these: ``plugin_with(proxy_sanitizers=[...])``."""
    members: dict[str, Any] = {"PLUGIN": PluginInfo(name="tested", api=API)}
    for name, brought in hooks.items():
        members[name] = staticmethod(hookimpl(_bringing(brought)))
    module: Module = type("Tested", (), members)  # type: ignore[assignment]  # a class serves as a module
    return module


def _bringing(brought: Sequence[Any]) -> Callable[[PluginContext], Sequence[Any]]:
    def hook(ctx: PluginContext) -> Sequence[Any]:
        return brought

    return hook
