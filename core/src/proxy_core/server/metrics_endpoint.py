"""``/metrics``: what this process counted and, of several workers, what each of them did.

Any worker may be asked, and asks the others. Each one's numbers carry its label ``worker``, so
that a worker that was replaced, or does not answer in time, is a series that starts anew or has
a gap, which Prometheus understands, and not a sum that falls, which it would misread. Its
multiprocess mode, files that all workers map into memory, would have to be set up before its
import, cannot look at what is now in another process, and keeps the dead for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from proxy_core.metrics.exposition import page
from proxy_core.metrics.meter import Meter
from proxy_core.server import control_socket
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import json_response

#: Prometheus gives up after ten seconds unless told otherwise.
_ASK_S = 2.0
_PATH = "/metrics?local=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """The endpoint."""

    meter: Meter
    keys: ClientKeys
    admin_key: str = field(repr=False)
    open: bool
    runtime_dir: Path

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``; ``?local=1`` is one worker asking another."""
        local = "local" in request.query_params
        if local or not self.open:
            self.keys.identify(request.scope)
        if local:
            return json_response(self.meter.said(), request)
        workers = self.meter.merged(await self._others())
        text, media_type = await asyncio.to_thread(page, workers, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})

    async def _others(self) -> list[Mapping[str, Any]]:
        if self.meter.parent is None:
            return []
        own = control_socket.own_socket(self.runtime_dir)
        try:
            answers = await control_socket.ask(self.runtime_dir, "GET", _PATH, self.admin_key, but=own, within_s=_ASK_S)
        except control_socket.Unreachable:
            return []
        return [answer for status, answer in answers if status == 200]
