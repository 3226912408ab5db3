"""``GET /metrics`` for Prometheus: what every worker process of a running proxy counted.

Any worker may be scraped, and asks the others. Each one's numbers carry its label ``worker``, so
that a worker that was replaced, or does not answer in time, is a series that starts anew or has
a gap, which Prometheus understands, and not a sum that falls, which it would misread. Its
multiprocess mode, files that all workers map into memory, would have to be set up before its
import, cannot look at the present state of another process, and keeps the dead forever.
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
    # Imported at the first scrape, in a thread: Prometheus's library takes a tenth of a second.
    from proxy_plugin_prometheus.exposition import encoded

    statuses = await request.statuses(credentials=False)
    body, content_type = await asyncio.to_thread(encoded, statuses, request.headers.get("accept", ""))
    return PageResponse(content_type=content_type, body=body)
