"""Gemini, twice: Google's public API with keys (``gemini``), and Code Assist with Google logins (``gemini_cli``)."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import CredentialRefresher, PluginContext, PluginInfo, Provider, hookimpl
from proxy_plugin_gemini_cli.code_assist import CodeAssist, backend_of
from proxy_plugin_gemini_cli.oauth import GoogleLogin
from proxy_plugin_gemini_cli.options import check_options
from proxy_plugin_gemini_cli.public_api import PublicApi
from proxy_plugin_gemini_cli.settings import GeminiCliSettings
from proxy_plugin_gemini_cli.signatures import SignatureCache

PLUGIN = PluginInfo(name="gemini_cli", api=1, settings=GeminiCliSettings, providers=("gemini", "gemini_cli"))


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    settings = ctx.settings(GeminiCliSettings)
    signatures = SignatureCache(settings.signatures, settings.signature_ttl_s)
    public, code_assist = ctx.provider("gemini"), ctx.provider("gemini_cli")
    for name, provider in (("gemini", public), ("gemini_cli", code_assist)):
        check_options(name, provider)
    headers = tuple((name, value.get_secret_value()) for name, value in public.headers.items())
    base = str(public.base_url or settings.gemini_api_base)
    return [
        CodeAssist(settings, backend_of(settings, code_assist), signatures).provider(),
        PublicApi(base, headers, signatures).provider(),
    ]


@hookimpl
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    settings = ctx.settings(GeminiCliSettings)
    return [GoogleLogin(settings, backend_of(settings, ctx.provider("gemini_cli"))).refresher()]
