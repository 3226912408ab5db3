"""Gemini: its wire formats for clients and upstreams, and Google's public API with keys (provider ``gemini``).

The names in ``__all__`` are for plugins for other Google services; the submodules are internal.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import Dialect, PluginContext, PluginInfo, Provider, hookimpl
from proxy_plugin_gemini import embeddings
from proxy_plugin_gemini.dialect import DIALECT
from proxy_plugin_gemini.failures import classify_google_failure, decide_failure
from proxy_plugin_gemini.google_error import GoogleError, Info, read_google_error
from proxy_plugin_gemini.options import CHAT_OPTIONS, VECTOR_OPTIONS, check_options
from proxy_plugin_gemini.public_api import BASE, NAME, PublicApi, parse_count
from proxy_plugin_gemini.settings import GeminiSettings
from proxy_plugin_gemini.signatures import SignatureCache
from proxy_plugin_gemini.translation import chat_of, decoder_with, request_of

__all__ = [
    "CHAT_OPTIONS",
    "PLUGIN",
    "GoogleError",
    "Info",
    "SignatureCache",
    "chat_of",
    "check_options",
    "classify_google_failure",
    "decide_failure",
    "decoder_with",
    "parse_count",
    "read_google_error",
    "request_of",
]

PLUGIN = PluginInfo(name="gemini", api=1, settings=GeminiSettings, providers=(NAME,))


@hookimpl
def proxy_dialects(ctx: PluginContext) -> Iterable[Dialect]:
    return [embeddings.DIALECT, DIALECT]


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    """Google itself, and the servers whose ``preset`` says that they speak its format."""
    others = [name for name in ctx.provider_names() if name != NAME and ctx.provider(name).preset == NAME]
    return [_provider(ctx, name) for name in (NAME, *others)]


def _provider(ctx: PluginContext, name: str) -> Provider:
    settings, provider = ctx.settings(GeminiSettings), ctx.provider(name)
    check_options(name, provider, {*CHAT_OPTIONS, *VECTOR_OPTIONS})
    headers = tuple((header, value.get_secret_value()) for header, value in provider.headers.items())
    signatures = SignatureCache(settings.signatures, settings.signature_ttl_s)
    return PublicApi(name, str(provider.base_url or BASE), headers, signatures).provider()
