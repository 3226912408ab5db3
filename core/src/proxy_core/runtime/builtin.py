"""The built-in dialects, selectors, sanitizers, state stores and HTTP server.

They are provided through the same hooks as those of any other plugin.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core.dialects import openai_chat, openai_completions, openai_embeddings
from proxy_core.hookspecs import hookimpl
from proxy_core.interfaces import (
    API,
    Dialect,
    Hosting,
    HttpServer,
    PluginContext,
    PluginInfo,
    Sanitizer,
    Selector,
    StateStore,
)
from proxy_core.pipeline.guard import GUARD
from proxy_core.rotation import selectors
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ServerSettings
from proxy_core.state.memory import memory_store
from proxy_core.state.sqlite import sqlite_store


class BuiltIn:
    """The plugin ``core``. Unlike other plugins it receives the proxy's own settings."""

    PLUGIN = PluginInfo(name="core", api=API)

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded

    @hookimpl
    def proxy_dialects(self, ctx: PluginContext) -> Iterable[Dialect]:
        return [
            openai_chat.DIALECT,
            openai_embeddings.DIALECT,
            openai_completions.DIALECT,
        ]

    @hookimpl
    def proxy_selectors(self, ctx: PluginContext) -> Iterable[Selector]:
        return selectors.BUILT_IN

    @hookimpl
    def proxy_sanitizers(self, ctx: PluginContext) -> Iterable[Sanitizer]:
        return [GUARD]

    @hookimpl
    def proxy_state_stores(self, ctx: PluginContext) -> Iterable[StateStore]:
        return [sqlite_store(), memory_store()]

    @hookimpl
    def proxy_http_servers(self, ctx: PluginContext) -> Iterable[HttpServer]:
        return [HttpServer(name="hypercorn", serve=_serve_on_hypercorn, check=_check_hypercorn)]


async def _serve_on_hypercorn(hosting: Hosting) -> None:
    from proxy_core.server import hypercorn

    await hypercorn.serve(hosting)


def _check_hypercorn(settings: ServerSettings) -> None:
    from proxy_core.server import hypercorn

    hypercorn.check(settings)
