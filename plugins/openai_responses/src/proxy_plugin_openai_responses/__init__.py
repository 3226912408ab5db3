"""OpenAI's Responses API for proxy-core: for clients of every model, and for upstreams that support it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from proxy_core import Dialect, Keeping, PluginContext, PluginInfo, hookimpl
from proxy_plugin_openai_responses.dialect import DIALECT
from proxy_plugin_openai_responses.dialect.decode import decode, decode_strictly
from proxy_plugin_openai_responses.dialect.request import context
from proxy_plugin_openai_responses.dialect.stored import previous, resume, value
from proxy_plugin_openai_responses.settings import ResponsesSettings

__all__ = ["PLUGIN"]

PLUGIN = PluginInfo(name="openai_responses", api=1, settings=ResponsesSettings)


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    settings = ctx.settings(ResponsesSettings)
    decodes = decode_strictly if settings.hosted_tools == "refuse" else decode
    keeping = Keeping(
        previous=previous,
        resume=resume,
        value=value,
        lives_s=settings.stored_s,
        most=settings.stored_responses,
        most_bytes=settings.stored_bytes,
    )
    if not settings.stored_responses:
        return [replace(DIALECT, decode=decodes, context=partial(context, stores=False))]
    return [replace(DIALECT, decode=decodes, keeping=keeping)]
