"""Send finished requests to a collector. The first one imports OpenTelemetry and starts its thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from proxy_core import RequestRecord
from proxy_plugin_otel.settings import OtelSettings
from proxy_plugin_otel.spans import Hosts, attempt_spans, request_span

if TYPE_CHECKING:
    from proxy_plugin_otel.sdk import Sdk


class Tracing:
    """An observer. No request waits for it: the core calls it afterwards, from a bounded queue, and the SDK has
    a second bounded queue for spans."""

    def __init__(self, settings: OtelSettings, hosts: Hosts, log: logging.Logger) -> None:
        self._settings = settings
        self._hosts = hosts
        self._log = log
        self._sdk: Sdk | None = None

    async def observe(self, record: RequestRecord) -> None:
        if self._sdk is None:
            # In a thread: importing takes a third of a second and must not delay running streams.
            self._sdk = await asyncio.to_thread(self._start)
        self._sdk.emit(request_span(record), attempt_spans(record, self._hosts), record.traceparent)

    def _start(self) -> Sdk:
        from proxy_plugin_otel.sdk import Sdk

        return Sdk(self._settings, self._log)

    async def close(self) -> None:
        """Send the queued spans for at most ``flush_s``; any left after that are lost."""
        if self._sdk is None:
            return
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        # A daemon thread, because a collector that hangs must not delay the shutdown.
        threading.Thread(target=_end, args=(self._sdk, loop, ended), name="otel end", daemon=True).start()
        try:
            async with asyncio.timeout(self._settings.flush_s):
                await ended.wait()
        except TimeoutError:
            self._log.warning("the last spans could not be sent in time and are lost")
            self._sdk.abandon()


def _end(sdk: Sdk, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sdk.shutdown()
    if not loop.is_closed():
        loop.call_soon_threadsafe(ended.set)
