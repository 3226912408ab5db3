"""What one reading of the settings has built. It changes nothing before it is activated, and a reload replaces it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from proxy_core.credentials.login import LoginSpec
from proxy_core.models.directory import ModelDirectory
from proxy_core.pipeline.dry_run import DryRun
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A proxy as the settings describe it: with values and objects of its own, and the process's state.

    ``pools`` are the process's, as is everything else that outlives it. ``resources`` are opened
    before it serves, and closed when its last request is done.
    """

    loaded: LoadedSettings
    catalog: Catalog
    providers: Mapping[str, ProviderSettings]
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
        """With its resources."""
        async with AsyncExitStack() as opened:
            for resource in self.resources:
                await opened.enter_async_context(resource)
            yield

    def interrupt(self, reason: ServerStopping) -> None:
        """End its requests."""
        self.services.running.interrupt(reason)

    def retire(self) -> None:
        """It is no longer in force: end what would go on forever."""
        self.feeds.end_all()

    def deployments(self) -> list[str]:
        """``provider/model`` of every model that settings name."""
        found = [deployment for route in self.loaded.settings.models.values() for deployment in route.deployments]
        for name, provider in self.providers.items():
            found += [f"{name}/{options.id or model}" for model, options in provider.models.items()]
        return found
