"""Composition: builds everything that serves requests from settings and a catalog.

Nothing here opens a connection or changes the generation being served; every possible error is
raised here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property, lru_cache
from typing import Any

from pydantic import SecretStr
from starlette.types import ASGIApp

from proxy_core.errors import PluginConflict, PluginError, SettingsError
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import Catalogs, ModelInfos
from proxy_core.models.pricing import Prices
from proxy_core.models.routing import Router
from proxy_core.models.suggestions import Suggestions
from proxy_core.network.exchange import UpstreamHttpClient
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.routes import Route
from proxy_core.network.routing import routes_of, sent_secrets
from proxy_core.network.upstream import Upstream
from proxy_core.pipeline.accounting import Accounting
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.pipeline.executor import Executor
from proxy_core.pipeline.in_place import noticing
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.pipeline.upstream_count import UpstreamCounting
from proxy_core.plugins.owners import taken
from proxy_core.plugins.registry import Catalog, without
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction
from proxy_core.rotation.pool import Pool
from proxy_core.runtime.advice import startup_warnings
from proxy_core.runtime.application import Parts, application
from proxy_core.runtime.catalog import checked
from proxy_core.runtime.generation import Generation
from proxy_core.runtime.pools import PoolPlan, Stored, login_specs, pool_plans, stored_credentials
from proxy_core.runtime.process import Process
from proxy_core.runtime.working_directory import check_access, check_destinations
from proxy_core.server.auth import ClientKeys, KeyPlaces
from proxy_core.server.client_key import admin_key, client_keys, state_secret
from proxy_core.server.pages import Feeds
from proxy_core.server.services import Running, Services
from proxy_core.settings.loading import LoadedSettings
from proxy_core.settings.schema import ProviderSettings
from proxy_core.settings.secrets import secret_values
from proxy_core.state.kept import KeptValues
from proxy_core.status.view import StatusView
from proxy_core.version import USER_AGENT

#: From the connections to providers to what stands in front of them, or in their place.
Network = Callable[[Upstream], Upstream]
_MAX_TABLE_BYTES = 32 * 1024 * 1024
#: Messages of upstreams of which a status does not have to remove secrets again.
_CLEANED = 1000


def build(
    loaded: LoadedSettings,
    catalog: Catalog,
    process: Process,
    *,
    to_run: bool = True,
    network: Network | None = None,
) -> Generation:
    """Build a generation. ``process`` only learns which secrets to hide and which credential files to read.

    A plugin that is in the way of the core itself is left out. With ``to_run=False``, only check that it can be
    built; no token is written. Raises ``SetupError`` for problems that the operator must fix.
    """
    while True:
        try:
            return _Builder(loaded, catalog, process, to_run, network or (lambda direct: direct)).generation()
        except PluginConflict:
            raise
        except PluginError as error:
            catalog = checked(loaded, without(catalog.plugins, error))


class _Builder:
    """Builds each part of a generation when another part, or the generation itself, first needs it."""

    def __init__(
        self, loaded: LoadedSettings, catalog: Catalog, process: Process, to_run: bool, network: Network
    ) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.process = process
        self.to_run = to_run
        self.network = network
        trace = self.settings.log.debug or self.settings.log.level == "debug"
        self.catalog = process.plugin_watch.watch(noticing(catalog), self.settings.plugins.budget_s, trace=trace)

    def generation(self) -> Generation:
        process = self.process
        process.scrub.learn(*self._secrets())
        logins = login_specs(self.catalog, self.plans, self.pools, *self.stored, process.fingerprint)
        return Generation(
            loaded=self.loaded,
            catalog=self.catalog,
            providers=self.providers,
            routes=self.routes,
            pools=self.pools,
            plans=self.plans,
            logins=list(logins),
            services=self.services,
            directory=self.directory,
            dry_run=self.dry_run,
            redaction=self.redaction,
            status=self.status,
            feeds=self.feeds,
            app=self.app,
            resources=self.resources,
            warnings=self.warnings,
        )

    # --- Keys and credentials ------------------------------------------------------------

    @cached_property
    def client_keys(self) -> Mapping[str, SecretStr]:
        return client_keys(self.loaded)

    @cached_property
    def admin_key(self) -> SecretStr:
        return admin_key(self.loaded)

    @cached_property
    def providers(self) -> Mapping[str, ProviderSettings]:
        names = self.catalog.providers
        return {name: self.loaded.provider(name, self.catalog.rotations) for name in names}

    @cached_property
    def stored(self) -> tuple[Stored, float]:
        """The stored credentials, and the time just before they were read."""
        vault, read_at = self.process.vault, self.process.clock.monotonic()
        vault.know(file for refresher in self.catalog.refreshers.values() for file in refresher.files)
        return stored_credentials(self.catalog, self.loaded, vault, adopt=self.to_run), read_at

    @cached_property
    def plans(self) -> Mapping[str, PoolPlan]:
        check_destinations(self.loaded, self.catalog, self.stored[0])
        check_access(self.loaded, self.catalog, self.stored[0])
        return pool_plans(self.catalog, self.providers, self.loaded, self.stored[0], self.process.fingerprint)

    @cached_property
    def pools(self) -> Mapping[str, Pool]:
        return {name: self.process.pool(name, plan.policy) for name, plan in self.plans.items()}

    def _secrets(self) -> Iterator[str]:
        """Every secret that must never be written to a log or repeated."""
        loaded, catalog = self.loaded, self.catalog
        yield from secret_values({**self.client_keys, "admin": self.admin_key, "state": state_secret(loaded)})
        yield from (c.secret.get_secret_value() for plan in self.plans.values() for c in plan.credentials)
        unused = [loaded.provider(name) for name in loaded.provider_names if name not in catalog.providers]
        used = [settings.model_copy(update={"headers": {}, "query": {}}) for settings in self.providers.values()]
        yield from secret_values([loaded.settings.model_copy(update={"providers": {}}), *unused, *used])
        yield from (secret for secrets in self.sent_secrets.values() for secret in secrets)
        for plugin in catalog.plugins:
            if plugin.state == "active" and plugin.info is not None and plugin.info.settings is not None:
                yield from secret_values(loaded.plugin(plugin.name, plugin.info.settings))

    # --- Network -------------------------------------------------------------------------

    @cached_property
    def upstream(self) -> Upstream:
        settings = self.settings
        direct = Upstream(
            user_agent=USER_AGENT,
            max_connections=settings.upstream.max_connections,
            connect_s=settings.timeouts.connect_s,
            pool_s=settings.timeouts.pool_s,
            routes=self.routes,
        )
        return self.network(direct)

    @cached_property
    def routes(self) -> Mapping[str, Route]:
        return routes_of(self.loaded, self.providers)

    @cached_property
    def sent_secrets(self) -> Mapping[str, Sequence[str]]:
        return {name: list(sent_secrets(settings, self.routes[name])) for name, settings in self.providers.items()}

    @cached_property
    def fetcher(self) -> GuardedFetcher:
        return GuardedFetcher(user_agent=USER_AGENT, reach=self.settings.upstream.fetch_links)

    # --- Models --------------------------------------------------------------------------

    @cached_property
    def router(self) -> Router:
        routes = {name: route.deployments for name, route in self.settings.models.items()}
        scrub = self.process.scrub.text
        return Router(
            self.catalog.providers,
            self.providers,
            routes,
            is_secret=lambda name: scrub(name) != name,
            taken=taken(self.catalog.plugins, self.loaded),
            today=lambda: self.process.clock.now().date(),
        )

    @cached_property
    def suggestions(self) -> Suggestions:
        active = [
            plugin.info for plugin in self.catalog.plugins if plugin.state == "active" and plugin.info is not None
        ]
        presets = {name for info in active for name in info.presets}
        return Suggestions(self.directory, self.router, self.pools, presets, self.catalog.packages)

    @cached_property
    def directory(self) -> ModelDirectory:
        return ModelDirectory(
            self.catalog.providers,
            self.providers,
            self.pools,
            self.router,
            self.upstream,
            self.process.scrub,
            self.process.clock,
            self.settings.routing.models_ttl_s,
        )

    @cached_property
    def model_infos(self) -> ModelInfos:
        return ModelInfos(self.providers, Catalogs(self.catalog.model_catalogs), self.directory.listed)

    @cached_property
    def prices(self) -> Prices:
        return Prices(self.model_infos, self.catalog.providers, self.pools)

    # --- The path of a request -----------------------------------------------------------

    @cached_property
    def sanitizers(self) -> Sanitizers:
        return Sanitizers(self.catalog.sanitizers)

    @cached_property
    def calls(self) -> Calls:
        return Calls(self.catalog.dialects, self.settings.streams.max_event_bytes, self.sent_secrets)

    @cached_property
    def executor(self) -> Executor:
        process = self.process
        return Executor(
            router=self.router,
            suggestions=self.suggestions,
            sanitizers=self.sanitizers,
            pools=self.pools,
            upstream=self.upstream,
            calls=self.calls,
            settings=self.settings,
            clock=process.clock,
            scrub=process.scrub,
            fetcher=self.fetcher,
            hedge_budget=process.hedge_budget,
        )

    @cached_property
    def dry_run(self) -> DryRun:
        return DryRun(self.catalog.dialects, self.router, self.sanitizers, self.calls, self.pools, self.clean)

    @cached_property
    def upstream_counting(self) -> UpstreamCounting:
        return UpstreamCounting(self.sanitizers, self.calls, self.pools, self.upstream, self.process.clock)

    @cached_property
    def accounting(self) -> Accounting:
        process = self.process
        return Accounting(
            counters=process.counters,
            observers=self.observers,
            recent=process.recent,
            recorder=self.recorder,
            budgets=process.budgets,
            usage=process.usage,
            prices=self.prices,
        )

    @cached_property
    def services(self) -> Services:
        settings, process = self.settings, self.process
        return Services(
            keys=ClientKeys(self.client_keys, KeyPlaces().of(self.catalog.dialects.values())),
            router=self.router,
            pipeline=self.executor,
            accounting=self.accounting,
            observers=self.observers,
            budgets=process.budgets,
            usage=process.usage,
            prices=self.prices,
            recorder=self.recorder,
            scrub=process.scrub,
            faults=process.plugin_watch.faults,
            clock=process.clock,
            max_body_bytes=settings.server.max_body_bytes,
            response_headers=settings.server.response_headers,
            recent=process.recent,
            kept=KeptValues(process.state),
            streams=settings.streams,
            timeouts=settings.timeouts,
            running=Running(all=process.in_flight),
        )

    # --- Off the path of a request -------------------------------------------------------

    @cached_property
    def observers(self) -> Observers:
        return Observers(self.catalog.observers)

    @cached_property
    def redaction(self) -> Redaction:
        return Redaction(self.catalog.redactors)

    @cached_property
    def recorder(self) -> Recorder | None:
        records = self.settings.records
        if not records.enabled:
            return None
        sinks, scrub = self.catalog.log_sinks, self.process.scrub
        if not sinks:
            raise SettingsError(["records.enabled: no plugin takes records; pip install proxy-plugin-jsonl"])
        return Recorder(sinks, self.redaction, scrub, max_body_bytes=records.max_body_bytes, chunks=records.chunks)

    @cached_property
    def warnings(self) -> Sequence[str]:
        return startup_warnings(self.loaded, self.catalog, self.router)

    @cached_property
    def feeds(self) -> Feeds:
        return Feeds()

    @cached_property
    def clean(self) -> Callable[[str], str]:
        """What clients and upstreams said, without anything that looks like a secret."""
        return lru_cache(_CLEANED)(lambda text: self.process.scrub.text(self.redaction.words(text)))

    @cached_property
    def status(self) -> StatusView:
        process, in_flight = self.process, self.process.in_flight
        return StatusView(
            clock=process.clock,
            worker=process.worker,
            started_at=process.started_at,
            catalog=self.catalog,
            pools=self.pools,
            state=process.state,
            refresher=process.refresher,
            observers=self.observers,
            recorder=self.recorder,
            redaction=self.redaction,
            clean=self.clean,
            recent=process.recent,
            cost_of=self.prices.of_record,
            counters=process.counters,
            watch=process.plugin_watch,
            in_flight=lambda: len(in_flight),
            url=lambda: process.url,
            warnings=self.warnings,
            lost_before=process.lost_before,
        )

    @cached_property
    def resources(self) -> Sequence[AbstractAsyncContextManager[Any]]:
        """In the order in which they are opened. Connections are closed last."""
        http = UpstreamHttpClient(self.upstream, max_bytes=_MAX_TABLE_BYTES)
        tables = self.model_infos.catalogs.kept_new(http)
        recorders = [self.recorder] if self.recorder is not None else []
        return [self.upstream, self.fetcher, self.directory, self.observers, self.executor.batcher, tables, *recorders]

    @cached_property
    def app(self) -> ASGIApp:
        parts = Parts(
            loaded=self.loaded,
            catalog=self.catalog,
            pools=self.pools,
            services=self.services,
            directory=self.directory,
            dry_run=self.dry_run,
            upstream_counting=self.upstream_counting,
            model_infos=self.model_infos,
            suggestions=self.suggestions,
            state=self.process.state,
            status=self.status,
            quotas=self.process.quotas,
            feeds=self.feeds,
        )
        return application(parts, self.admin_key)
