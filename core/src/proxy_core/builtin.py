"""The built-in parts, brought through the same hooks as anyone's: dialects and selectors."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core.credentials import selectors
from proxy_core.dialects import openai_chat, openai_completions, openai_embeddings
from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import API, Dialect, PluginContext, PluginInfo, Selector

PLUGIN = PluginInfo(name="core", api=API)


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    return [openai_chat.DIALECT, openai_embeddings.DIALECT, openai_completions.DIALECT]


@hookimpl
def proxy_selectors(ctx: PluginContext) -> Iterable[Selector]:
    return selectors.BUILT_IN
