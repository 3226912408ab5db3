"""Example for proxy-core: a log sink that appends request records to a file."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from proxy_core import LogSink, PluginContext, PluginInfo, hookimpl

PLUGIN = PluginInfo(name="example", api=1)


@hookimpl
def proxy_log_sinks(ctx: PluginContext) -> Iterable[LogSink]:
    return [example(ctx.data_dir / "records.jsonl")]


def example(file: Path) -> LogSink:
    def append(lines: Sequence[bytes]) -> None:
        with file.open("ab") as records:
            records.writelines(line + b"\n" for line in lines)

    async def write(lines: Sequence[bytes]) -> None:
        await asyncio.to_thread(append, lines)  # the event loop serves the requests

    return LogSink(name="example", write=write)
