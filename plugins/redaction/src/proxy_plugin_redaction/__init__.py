"""Redaction for proxy-core: secrets never reach logs and records; personal data is redacted if the settings say so.

The sanitizer ``masking`` exists only if ``[plugins.redaction] mask`` is not empty.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import PluginContext, PluginInfo, Redactor, Sanitizer, hookimpl
from proxy_plugin_redaction.masking import masking
from proxy_plugin_redaction.redactor import RecordRedactor
from proxy_plugin_redaction.settings import RedactionSettings

PLUGIN = PluginInfo(name="redaction", api=1, settings=RedactionSettings)


@hookimpl
def proxy_redactors(ctx: PluginContext) -> Iterable[Redactor]:
    settings = ctx.settings(RedactionSettings)
    return [Redactor(name="redaction", redact=RecordRedactor(settings.redacted(), settings.fields))]


@hookimpl
def proxy_sanitizers(ctx: PluginContext) -> Iterable[Sanitizer]:
    shapes = ctx.settings(RedactionSettings).masked()
    return [masking(shapes)] if shapes else []
