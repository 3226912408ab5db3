"""``GET /metrics`` for Prometheus: the counters of every worker process of a running proxy.

Prometheus may scrape any worker; that worker asks the others. Each worker's series carry the label
``worker``. A worker that is replaced, or that does not answer in time, therefore shows up as a series
that restarts or has a gap, which Prometheus handles; a sum that falls would be misread as a reset.

The client library's multiprocess mode (files that all workers map into memory) is not used: it must
be set up before the library is imported, it cannot read the current state of another process, and it
keeps the series of dead processes forever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pydantic import Field

from proxy_core import AdminPage, PageRequest, PageResponse, PluginContext, PluginInfo, PluginSettings, hookimpl


class PrometheusSettings(PluginSettings):
    """``[plugins.prometheus]``."""

    public: bool = Field(False, description="Serve ``/metrics`` without a key; otherwise it requires the admin key.")


PLUGIN = PluginInfo(name="prometheus", api=1, settings=PrometheusSettings)


@hookimpl
def proxy_admin_pages(ctx: PluginContext) -> Iterable[AdminPage]:
    return [AdminPage(path="/metrics", respond=metrics, public=ctx.settings(PrometheusSettings).public)]


async def metrics(request: PageRequest) -> PageResponse:
    """The page, in the format that the ``Accept`` header names."""
    # Imported at the first scrape: importing Prometheus's library takes a tenth of a second.
    from proxy_plugin_prometheus.exposition import encoded

    statuses = await request.statuses(credentials=False)
    body, content_type = await asyncio.to_thread(encoded, statuses, request.headers.get("accept", ""))
    return PageResponse(content_type=content_type, body=body)
