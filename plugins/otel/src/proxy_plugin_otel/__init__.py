"""Traces for proxy-core: one span per request and, below it, one per attempt, sent to an OpenTelemetry collector;
optionally also request records as logs.

OpenTelemetry is imported, and its thread starts, only when a collector is configured and a first request has ended.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import LogSink, Observer, PluginContext, PluginInfo, hookimpl
from proxy_plugin_otel.settings import OtelSettings, collector, records_collector
from proxy_plugin_otel.tracing import Tracing

PLUGIN = PluginInfo(name="otel", api=1, settings=OtelSettings)


@hookimpl
def proxy_observers(ctx: PluginContext) -> Iterable[Observer]:
    settings = ctx.settings(OtelSettings)
    if collector(settings) is None:
        return []
    tracing = Tracing(settings, _hosts(ctx), ctx.log)
    return [Observer(name="otel", observe=tracing.observe, close=tracing.close)]


@hookimpl
def proxy_log_sinks(ctx: PluginContext) -> Iterable[LogSink]:
    settings = ctx.settings(OtelSettings)
    url = records_collector(settings)
    if url is None:
        return []
    from proxy_plugin_otel.records import RecordSink  # imports an HTTP client that nothing else here needs

    sink = RecordSink(url, settings)
    return [LogSink(name="otel", write=sink.write, close=sink.close)]


def _hosts(ctx: PluginContext) -> dict[str, tuple[str, int | None]]:
    """Host and port of each provider whose address is in the settings."""
    urls = {name: ctx.provider(name).base_url for name in ctx.provider_names()}
    return {name: (url.host, url.port) for name, url in urls.items() if url is not None and url.host}
