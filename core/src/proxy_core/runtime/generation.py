"""Everything built from one reading of the settings. Building it changes nothing until it is activated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec import Struct
from starlette.types import ASGIApp

from proxy_core.credentials.login import LoginSpec
from proxy_core.models.directory import ModelDirectory
from proxy_core.network.routes import Route
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.plugins.owners import remember
from proxy_core.plugins.registry import Catalog
from proxy_core.records.redact import Redaction
from proxy_core.rotation.pool import Pool
from proxy_core.runtime.pools import PoolPlan
from proxy_core.server.interrupt import ServerStopping
from proxy_core.server.pages import Feeds
from proxy_core.server.services import Services
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ProviderSettings
from proxy_core.status.view import StatusView


class Generation(Struct, frozen=True, kw_only=True):
    """A proxy as the settings describe it: values and objects of its own, and the process's state.

    ``pools``, like everything else that outlives it, belong to the process. ``resources`` are opened
    before it serves, and closed after its last request.
    """

    loaded: LoadedSettings
    catalog: Catalog
    providers: Mapping[str, ProviderSettings]
    routes: Mapping[str, Route]
    pools: Mapping[str, Pool]
    plans: Mapping[str, PoolPlan]
    logins: Sequence[LoginSpec]
    services: Services
    directory: ModelDirectory
    dry_run: DryRun
    redaction: Redaction
    status: StatusView
    feeds: Feeds
    app: ASGIApp
    resources: Sequence[AbstractAsyncContextManager[Any]]
    warnings: Sequence[str]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open its resources for the duration of the block."""
        remember(self.loaded, self.catalog.plugins)
        async with AsyncExitStack() as opened:
            for resource in self.resources:
                await opened.enter_async_context(resource)
            yield

    def interrupt(self, reason: ServerStopping) -> None:
        """End its running requests."""
        self.services.running.interrupt(reason)

    def retire(self) -> None:
        """It was replaced: end its feeds, which would never end by themselves."""
        self.feeds.end_all()

    def deployments(self) -> list[str]:
        """``provider/model`` of every model that settings name."""
        found = [deployment for route in self.loaded.settings.models.values() for deployment in route.deployments]
        for name, provider in self.providers.items():
            found += [f"{name}/{options.id or model}" for model, options in provider.models.items()]
        return found
