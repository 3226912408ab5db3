"""Admin endpoints, behind the admin key: why a model has no credential, what happened to a request, ending cooldowns.

Every process has its own state, so a request from the network is passed on to the other processes;
each response names its process.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, to_builtins
from starlette.requests import Request
from starlette.responses import Response

from proxy_core.dialects.common import parse_body
from proxy_core.errors import BadRequest, Conflict, NotFound
from proxy_core.interfaces import Deployment, RequestRecord, UsageRow
from proxy_core.messages import repr_without
from proxy_core.models.routing import Router
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.records.recent import RecentRequests
from proxy_core.records.record import explained
from proxy_core.records.search import Search, brief, grouped, search
from proxy_core.rotation.explain import described
from proxy_core.rotation.pool import Pool
from proxy_core.server import control_socket
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import json_response
from proxy_core.server.wording import Wording
from proxy_core.settings.loading import LoadedSettings
from proxy_core.state.usage import COUNTED, summed

#: The key in a request's scope under which :class:`Reloads` is found.
RELOAD = "proxy_core.reload"
#: Marks a request that another process passed on, so that it is not passed on again.
_LOCAL = "local"


#: The usage of the days from the first to the second, by all processes.
ReadUsage = Callable[[date, date], Awaitable[Sequence[UsageRow]]]
#: What requests and usage can be summed by.
_BY = ("day", "client", "provider", "credential", "model")
_MOST_FOUND = 200


class Reloads(Protocol):
    """Reloads the settings of this process. ``read`` only reads them, as the next start would."""

    @property
    def read(self) -> Callable[[], LoadedSettings]: ...
    async def answer(self) -> dict[str, Any]: ...


class Operations(Struct, frozen=True, kw_only=True):
    """The endpoints below ``/admin``."""

    __repr__ = repr_without("admin_key")

    keys: ClientKeys
    admin_key: str
    router: Router
    pools: Mapping[str, Pool]
    recent: RecentRequests
    cost_of: Callable[[RequestRecord], float | None]
    clean: Callable[[str], str]
    model_problems: Mapping[str, str]
    dry_run: DryRun
    usage_of: ReadUsage
    runtime_dir: Path
    wording: Wording

    async def why(self, request: Request) -> Response:
        """``GET /admin/why?model=M``: the credentials of each deployment, and why they cannot be used."""
        self.keys.identify(request.scope)
        deployments = self._resolved(request.query_params.get("model"))
        pools, clean = self.pools, self.clean
        found = [{"deployment": str(d), **described(pools[d.provider.name], d.model, clean)} for d in deployments]
        return await self._answer(request, {"deployments": found})

    async def explain(self, request: Request) -> Response:
        """``GET /admin/explain/{request_id}``: the decisions and attempts of a request. Raises ``NotFound``."""
        self.keys.identify(request.scope)
        request_id = request.path_params["request_id"]
        record = self.recent.get(request_id)
        if record is not None:
            return json_response(explained(record, self.clean), request)
        for status, response in await self._others(request):
            if status == 200:
                return json_response(response, request)
        raise NotFound(f"No request {request_id!r} is in the history.")

    async def dry(self, request: Request) -> Response:
        """``POST /admin/explain``: ``{"model": M}`` or a whole request body; the path it would take."""
        self.keys.identify(request.scope)
        return await self._answer(request, self.dry_run(parse_body(await request.body())))

    async def clear(self, request: Request) -> Response:
        """``POST /admin/cooldowns/clear``: ``{"provider", "credential", "model"}``, each optional."""
        self.keys.identify(request.scope)
        scope = parse_body(await request.body() or b"{}")
        unknown = [name for name in scope if name not in ("provider", "credential", "model")]
        if unknown:
            raise BadRequest(f"There is no {unknown[0]!r} here.", param=unknown[0])
        for name, value in scope.items():
            if not isinstance(value, str):
                raise BadRequest(f"{name} must be a string.", param=name)
        return await self._answer(request, {"cleared": self._clear(**scope)})

    async def reload(self, request: Request) -> Response:
        """``POST /admin/reload``: reload the settings of every process. 409 if one of them keeps the old ones."""
        self.keys.identify(request.scope)
        reloads: Reloads | None = request.scope.get(RELOAD)
        if reloads is None:
            raise NotFound("This server was not started by proxy-core: it reads settings only when it starts.")
        processes = await self._processes(request, await reloads.answer())
        refused = [problem for process in processes for problem in process["problems"]]
        if _LOCAL in request.query_params or not refused:
            return json_response({"processes": processes}, request)
        error = Conflict("Not every process was reloaded: " + "; ".join(dict.fromkeys(refused)))
        return json_response({**self.wording.body(error, request), "processes": processes}, request, error.status)

    async def requests(self, request: Request) -> Response:
        """``GET /admin/requests?q=&client=&limit=&by=``: those of the history that :class:`Search` finds, newest first.

        ``limit`` is 50 unless it is given; ``matched`` counts all, ``kept`` those that are in the history. With ``by``
        (``client,model``), the answer also says how long these took.
        """
        self.keys.identify(request.scope)
        given = request.query_params
        limit, by, wanted = _number(given, "limit", 50), _by(given), _search(given, self.pools)
        if not 0 <= limit <= _MOST_FOUND:
            raise BadRequest(f"limit must be a number from 0 to {_MOST_FOUND}.", param="limit")

        def found() -> tuple[Sequence[RequestRecord], list[dict[str, Any]]]:
            matching = search(records, wanted)
            return matching, grouped(matching, by) if by else []

        records = self.recent.all()
        matching, groups = await asyncio.to_thread(found)
        shown = [to_builtins(brief(record, self.cost_of(record), self.clean)) for record in matching[: int(limit)]]
        counts = {"kept": len(records), "matched": len(matching)}
        return await self._answer(request, {**counts, "requests": shown, "groups": groups})

    async def usage(self, request: Request) -> Response:
        """``GET /admin/usage?since=D&until=D&by=``: usage by day, client, credential and model; today unless said.

        ``by=day,client`` sums it. Raises ``Unavailable`` if the store does not answer.
        """
        self.keys.identify(request.scope)
        given, today = request.query_params, datetime.now(UTC).date()
        since, until, by = _day(given, "since", today), _day(given, "until", today), _by(given)
        rows = await self.usage_of(since, until)
        if not by:
            return json_response({"usage": [to_builtins(row) for row in rows]}, request)
        totals = await asyncio.to_thread(summed, rows, by)
        counted = [{**dict(zip(by, map(str, key), strict=True)), **_counts(row)} for key, row in totals]
        return json_response({"usage": counted}, request)

    async def models(self, request: Request) -> Response:
        """``GET /admin/models``: which providers did not give their list of models the last time, and why."""
        self.keys.identify(request.scope)
        return await self._answer(request, {"problems": dict(self.model_problems)})

    def _clear(self, provider: str | None = None, credential: str | None = None, model: str | None = None) -> int:
        if provider is not None and provider not in self.pools:
            raise BadRequest(f"There is no provider {provider!r}.", param="provider")
        if credential is not None and not any(
            c.id == credential for pool in self.pools.values() for c in pool.credentials
        ):
            raise BadRequest(f"There is no credential {credential!r}.", param="credential")
        if model is not None:
            deployments = [d for d in self._resolved(model) if provider in (None, d.provider.name)]
            return sum(self.pools[d.provider.name].clear(credential, d.model) for d in deployments)
        pools = self.pools.values() if provider is None else [self.pools[provider]]
        return sum(pool.clear(credential) for pool in pools)

    def _resolved(self, model: object) -> Sequence[Deployment]:
        if not isinstance(model, str) or not model:
            raise BadRequest("A model is required.", param="model")
        return self.router.resolve(model)

    async def _answer(self, request: Request, mine: dict[str, Any]) -> Response:
        return json_response({"processes": await self._processes(request, mine)}, request)

    async def _processes(self, request: Request, mine: dict[str, Any]) -> list[dict[str, Any]]:
        others = [response["processes"][0] for status, response in await self._others(request) if status == 200]
        return sorted([{"process": os.getpid(), **mine}, *others], key=lambda p: p["process"])

    async def _others(self, request: Request) -> list[tuple[int, Any]]:
        """The responses of the other processes to the same request."""
        if _LOCAL in request.query_params:
            return []
        url = request.url
        path = f"{request.scope['path']}?{url.query + '&' if url.query else ''}{_LOCAL}=1"
        raw = await request.body()
        body = parse_body(raw) if raw else None
        try:
            own = control_socket.own_socket(self.runtime_dir)
            return await control_socket.ask(self.runtime_dir, request.method, path, self.admin_key, body, exclude=own)
        except control_socket.Unreachable:
            return []


Given = Mapping[str, str]


def _search(given: Given, pools: Mapping[str, Pool]) -> Search:
    """Raises ``BadRequest``."""
    texts = ("q", "client", "model", "deployment", "credential", "outcome", "status")
    return Search(
        **{name: given[name].strip() for name in texts if name in given},
        since=_day(given, "since", date.min),
        after=_number(given, "after", -math.inf),
        before=_number(given, "before", math.inf),
        labels={c.id: c.label for pool in pools.values() for c in pool.credentials} if given.get("q") else {},
    )


def _by(given: Given) -> Sequence[str]:
    names = [name.strip() for name in given.get("by", "").split(",") if name.strip()]
    if unknown := [name for name in names if name not in _BY]:
        raise BadRequest(f"{unknown[0]!r} is not one of {', '.join(_BY)}.", param="by")
    return names


def _day(given: Given, name: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(given[name]) if name in given else otherwise
    except ValueError:
        raise BadRequest(f"{name} must be a day, like {datetime.now(UTC).date()}.", param=name) from None


def _number(given: Given, name: str, otherwise: float) -> float:
    try:
        return float(given[name]) if given.get(name) else otherwise
    except ValueError:
        raise BadRequest(f"{name} must be a number.", param=name) from None


def _counts(row: UsageRow) -> dict[str, float]:
    return {name: getattr(row, name) for name in COUNTED}
