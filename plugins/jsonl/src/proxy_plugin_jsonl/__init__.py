"""Request records as JSON lines, in rotating private files."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import LogSink, PluginContext, PluginInfo, hookimpl
from proxy_plugin_jsonl.files import JsonLines, JsonLinesSettings

PLUGIN = PluginInfo(name="jsonl", api=1, settings=JsonLinesSettings)


@hookimpl
def proxy_log_sinks(ctx: PluginContext) -> Iterable[LogSink]:
    settings = ctx.settings(JsonLinesSettings)
    files = JsonLines(lambda: settings.folder or ctx.data_dir, settings)
    return [LogSink(name="jsonl", write=files.write, close=files.close)]
