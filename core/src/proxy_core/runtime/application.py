"""The application of one composed proxy: what its pages speak of, and what its lifespan opens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import SecretStr
from starlette.applications import Starlette

from proxy_core.credentials.refresher import Keeper
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import Cards
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.plugins.registry import Catalog
from proxy_core.rotation.pool import Pool
from proxy_core.server.admin import Operations
from proxy_core.server.app import build_app
from proxy_core.server.auth import ClientKeys
from proxy_core.server.info import Introspection
from proxy_core.server.metrics_endpoint import Scrape
from proxy_core.server.quota_stats import QuotaStats
from proxy_core.server.services import Services
from proxy_core.server.token_count import Measures
from proxy_core.settings.loading import LoadedSettings
from proxy_core.state.shared import SharedState


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application's pages speak of."""

    loaded: LoadedSettings
    catalog: Catalog
    pools: Mapping[str, Pool]
    services: Services
    directory: ModelDirectory
    dry_run: DryRun
    cards: Cards
    state: SharedState
    keeper: Keeper
    resources: Sequence[AbstractAsyncContextManager[Any]]


def application(parts: Parts, admin: SecretStr) -> Starlette:
    loaded, services, admin_keys = parts.loaded, parts.services, ClientKeys({"admin": admin})
    introspection = Introspection(
        catalog=parts.catalog,
        pools=parts.pools,
        directory=parts.directory,
        keys=services.keys,
        budgets=services.budgets,
        router=services.router,
        routes=loaded.settings.models,
        cards=parts.cards,
        prices=services.prices,
        started_at=int(time.time()),
        problems=partial(_problems, parts.catalog, parts.state, parts.keeper),
    )
    stats = QuotaStats(keys=services.keys, pools=parts.pools, state=parts.state, clock=services.clock)
    measures = Measures(
        keys=services.keys,
        budgets=services.budgets,
        router=services.router,
        counters=parts.catalog.token_counters,
        prices=services.prices,
        max_body_bytes=services.max_body_bytes,
    )
    operations = Operations(
        keys=admin_keys,
        admin_key=admin.get_secret_value(),
        router=services.router,
        pools=parts.pools,
        recent=services.recent,
        dry_run=parts.dry_run,
        runtime_dir=loaded.runtime_dir,
    )
    scrape = None
    if services.meter is not None:
        scrape = Scrape(
            meter=services.meter,
            keys=admin_keys,
            admin_key=admin.get_secret_value(),
            open=loaded.settings.metrics.public,
            runtime_dir=loaded.runtime_dir,
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            for resource in (parts.state, *parts.resources):
                await opened.enter_async_context(resource)
            yield

    return build_app(parts.catalog.dialects, services, introspection, operations, stats, measures, lifespan, scrape)


def _problems(catalog: Catalog, state: SharedState, keeper: Keeper) -> list[str]:
    """What does not work as it should, for ``/readyz``."""
    found = [f"plugin {p.name}: {p.state}" for p in catalog.plugins if p.state == "skipped"]
    found += [f"{provider}: a login has ended" for provider in keeper.ended]
    return [*found, f"state store: {state.problem}"] if state.problem is not None else found
