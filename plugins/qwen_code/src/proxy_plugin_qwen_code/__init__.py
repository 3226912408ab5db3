"""Qwen for proxy-core: keys for Coding Plan, Token Plan and Model Studio in each region, and device logins."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import Check, CredentialRefresher, PluginContext, PluginInfo, Provider, hookimpl
from proxy_plugin_qwen_code.login import qwen_refresher
from proxy_plugin_qwen_code.provider import NAME, key_check, qwen_provider
from proxy_plugin_qwen_code.settings import QwenCodeSettings

PLUGIN = PluginInfo(name="qwen_code", api=1, settings=QwenCodeSettings, providers=(NAME,))


@hookimpl
def proxy_providers(ctx: PluginContext) -> Iterable[Provider]:
    return [qwen_provider(ctx.settings(QwenCodeSettings), ctx.provider(NAME))]


@hookimpl
def proxy_credential_refreshers(ctx: PluginContext) -> Iterable[CredentialRefresher]:
    return [qwen_refresher(ctx.settings(QwenCodeSettings))]


@hookimpl
def proxy_checks(ctx: PluginContext) -> Iterable[Check]:
    return [key_check(ctx.settings(QwenCodeSettings), ctx.provider(NAME))]
