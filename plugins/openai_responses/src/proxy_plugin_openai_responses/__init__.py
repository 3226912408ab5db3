"""OpenAI's Responses API for proxy-core: for clients of every model, and for upstreams that support it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from proxy_core import Dialect, PluginContext, PluginInfo, hookimpl
from proxy_plugin_openai_responses.dialect import DIALECT
from proxy_plugin_openai_responses.dialect.decode import decode_strictly
from proxy_plugin_openai_responses.settings import ResponsesSettings

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="openai_responses", api=1, settings=ResponsesSettings)


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    refuses = ctx.settings(ResponsesSettings).hosted_tools == "refuse"
    return [replace(DIALECT, decode=decode_strictly) if refuses else DIALECT]
