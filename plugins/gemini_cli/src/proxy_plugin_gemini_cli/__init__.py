"""Gemini with Google logins: the provider ``gemini_cli``, which uses the Code Assist backend."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import CredentialRefresher, PluginContext, PluginInfo, Provider, hookimpl
from proxy_plugin_gemini import CHAT_OPTIONS, SignatureCache, check_options
from proxy_plugin_gemini_cli.code_assist import NAME, CodeAssist, backend_of
from proxy_plugin_gemini_cli.oauth import GoogleLogin
from proxy_plugin_gemini_cli.settings import GeminiCliSettings

PLUGIN = PluginInfo(name="gemini_cli", api=1, settings=GeminiCliSettings, providers=(NAME,))


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    settings, provider = ctx.settings(GeminiCliSettings), ctx.provider(NAME)
    check_options(NAME, provider, CHAT_OPTIONS)
    signatures = SignatureCache(settings.signatures, settings.signature_ttl_s)
    return [CodeAssist(settings, backend_of(settings, provider), signatures).provider()]


@hookimpl
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    settings = ctx.settings(GeminiCliSettings)
    return [GoogleLogin(settings, backend_of(settings, ctx.provider(NAME))).refresher()]
