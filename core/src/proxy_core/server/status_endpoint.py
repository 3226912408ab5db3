"""``GET /admin/status``: the status of every worker process; plugins' pages read the same values."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins
from starlette.requests import Request
from starlette.responses import Response

from proxy_core.interfaces import ProcessStatus
from proxy_core.messages import repr_without
from proxy_core.server import control_socket
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import json_response
from proxy_core.status.view import StatusView

log = logging.getLogger("proxy_core.status")

#: A slow process is left out rather than waited for; Prometheus gives up after ten seconds.
_TIMEOUT_S = 2.0
_PATH = "/admin/status?local=1"


class Statuses(Struct, frozen=True, kw_only=True):
    """The status of this process and of its siblings, the other workers of the same program."""

    __repr__ = repr_without("admin_key")

    view: StatusView
    keys: ClientKeys
    admin_key: str
    runtime_dir: Path

    async def show(self, request: Request) -> Response:
        """``?local=1``: from one worker to another. ``?credentials=0``: leave out individual credentials."""
        self.keys.identify(request.scope)
        credentials = request.query_params.get("credentials") != "0"
        if "local" in request.query_params:
            found: Sequence[ProcessStatus] = [self.own(credentials=credentials)]
        else:
            found = await self.all(credentials=credentials)
        return json_response({"processes": [to_builtins(status) for status in found]}, request)

    def own(self, *, credentials: bool = True) -> ProcessStatus:
        return self.view.read(credentials=credentials)

    async def all(self, *, credentials: bool = True) -> Sequence[ProcessStatus]:
        others = await self._others(credentials) if self.view.worker.parent is not None else []
        return of_one_program(self.own(credentials=credentials), others)

    async def _others(self, credentials: bool) -> list[ProcessStatus]:
        path = _PATH if credentials else f"{_PATH}&credentials=0"
        own = control_socket.own_socket(self.runtime_dir)
        try:
            responses = await control_socket.ask(
                self.runtime_dir, "GET", path, self.admin_key, exclude=own, timeout_s=_TIMEOUT_S
            )
        except control_socket.Unreachable:
            return []
        return [read for status, response in responses if status == 200 if (read := _read(response)) is not None]


def of_one_program(own: ProcessStatus, others: Iterable[ProcessStatus]) -> Sequence[ProcessStatus]:
    """By worker number, without processes of other programs, which may share the folder of sockets."""
    siblings = {other.worker: other for other in others if other.parent == own.parent}
    by_worker = {**siblings, own.worker: own}
    return [by_worker[worker] for worker in sorted(by_worker)]


def _read(response: Mapping[str, Any]) -> ProcessStatus | None:
    """``None`` for a process of another version, which may run during an upgrade."""
    try:
        return convert(response["processes"][0], ProcessStatus)
    except (ValidationError, LookupError, TypeError):
        log.debug("the status of another process cannot be read", exc_info=True)
        return None
