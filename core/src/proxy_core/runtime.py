"""Composition: settings become plugins, a catalog, pools and an application.

Nothing here opens a connection; the application's lifespan does, and closes what it opened.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from starlette.applications import Starlette

from proxy_core.advice import startup_warnings
from proxy_core.builtin import BuiltIn
from proxy_core.catalog import Catalog, build_catalog
from proxy_core.clock import Clock, SystemClock
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.pool import Pool
from proxy_core.errors import SettingsError
from proxy_core.fetch import GuardedFetcher
from proxy_core.interfaces import StateBackend, StateStore
from proxy_core.loading import LoadedSettings, load, secret_values
from proxy_core.metrics.count import Counts
from proxy_core.metrics.gauges import Gauges
from proxy_core.metrics.meter import Meter
from proxy_core.metrics.timed import PluginTimes
from proxy_core.pipeline.batching import Batcher
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.discovery import ModelDirectory
from proxy_core.pipeline.dryrun import DryRun
from proxy_core.pipeline.executor import Executor, Limits
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.plugins import HOOKS, Module, check_guards, load_plugins
from proxy_core.pools import build_pools, rotations
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.records.ring import RecentRequests
from proxy_core.routing import Router
from proxy_core.server.admin import Introspection
from proxy_core.server.app import build_app
from proxy_core.server.auth import ClientKeys
from proxy_core.server.clientkey import admin_key, client_keys, state_secret
from proxy_core.server.endpoint import Running, Services
from proxy_core.server.operate import Operations
from proxy_core.server.scrape import Scrape
from proxy_core.server.stats import QuotaStats
from proxy_core.settings import ProviderSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.pricing import Prices
from proxy_core.state.shared import SharedState
from proxy_core.state.usage import UsageBook
from proxy_core.upstream import Upstream
from proxy_core.version import USER_AGENT

#: Commands are the command line's business; a server does not ask for them.
_SERVER_HOOKS = tuple(hook for hook in HOOKS if hook != "proxy_cli_commands")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A composed proxy, ready to be served."""

    app: Starlette
    loaded: LoadedSettings
    catalog: Catalog
    pools: Mapping[str, Pool]
    services: Services
    directory: ModelDirectory
    dry_run: DryRun
    state: SharedState
    fingerprint: Fingerprints
    scrub: SecretScrubber
    redaction: Redaction
    meter: Meter | None
    warnings: Sequence[str]


def create_app(config: str | Path | None = None) -> Starlette:
    """An ASGI application from a settings file, the environment and defaults, for any ASGI server.

    Raises ``SetupError``.
    """
    return compose(load(Path(config) if config else None)).app


def compose(loaded: LoadedSettings, clock: Clock | None = None, modules: Sequence[Module] = ()) -> Proxy:
    """Put a proxy together. ``modules`` are plugins that are not installed, as in a test.

    Raises ``SetupError`` for what the operator must mend.
    """
    clock, settings = clock or SystemClock(), loaded.settings
    plugins = load_plugins(loaded, built_in=[BuiltIn(loaded), *modules], only=_SERVER_HOOKS)
    check_guards(loaded, plugins)
    catalog = build_catalog(plugins, sanitizer_order=settings.sanitizers.order)
    times = PluginTimes()
    if settings.metrics.enabled:
        catalog = times.watch(catalog)
    per_provider = {name: loaded.provider(name, rotations(catalog)) for name in catalog.providers}
    router = Router(catalog.providers, per_provider, {n: r.deployments for n, r in settings.models.items()})
    secret = state_secret(loaded)
    fingerprint = Fingerprints(secret)
    pools = build_pools(catalog, per_provider, loaded, fingerprint, clock)
    keys = client_keys(loaded)
    admin = admin_key(loaded)
    scrub = SecretScrubber(_secrets({**keys, "admin": admin, "state": secret}, pools, loaded, catalog))
    upstream = Upstream(
        user_agent=USER_AGENT,
        max_connections=settings.upstream.max_connections,
        connect_s=settings.timeouts.connect_s,
        pool_s=settings.timeouts.pool_s,
    )
    fetcher = GuardedFetcher(user_agent=USER_AGENT, reach=settings.upstream.fetch_links)
    observers = Observers(catalog.observers)
    redaction = Redaction(catalog.redactors)
    records = settings.records
    recorder = (
        Recorder(catalog.log_sinks, redaction, scrub, max_body_bytes=records.max_body_bytes)
        if records.enabled
        else None
    )
    calls = Calls(catalog.dialects, settings.streams.max_event_bytes)
    sanitizers = Sanitizers(catalog.sanitizers)
    limits = Limits(timeouts=settings.timeouts, routing=settings.routing, upstream=settings.upstream)
    usage, budgets = UsageBook(), Budgets(settings.clients, clock)
    store, url = state_store(catalog, loaded)
    state = SharedState(store, url, settings.state, pools, usage, budgets, clock)
    executor = Executor(
        pools=pools,
        upstream=upstream,
        calls=calls,
        limits=limits,
        clock=clock,
        scrub=scrub,
        fetcher=fetcher,
    )
    batcher = Batcher(executor, settings.embeddings)
    running = Running()
    gauges = Gauges(
        pools=pools,
        observers=observers,
        recorder=recorder,
        redaction=redaction,
        in_flight=lambda: len(running.scopes),
        started_at=time.time(),
    )
    meter = Meter(Counts(_named_deployments(loaded, per_provider)), times, gauges) if settings.metrics.enabled else None
    services = Services(
        keys=ClientKeys(keys),
        router=router,
        sanitizers=sanitizers,
        batcher=batcher,
        observers=observers,
        budgets=budgets,
        usage=usage,
        prices=Prices(per_provider),
        recorder=recorder,
        scrub=scrub,
        clock=clock,
        max_body_bytes=settings.server.max_body_bytes,
        reply_headers=settings.server.reply_headers,
        recent=RecentRequests(settings.routing.explained),
        streams=settings.streams,
        timeouts=settings.timeouts,
        meter=meter,
        running=running,
    )
    warnings = startup_warnings(loaded, catalog, router)
    directory = ModelDirectory(
        catalog.providers, per_provider, pools, router, upstream, scrub, clock, settings.routing.models_ttl_s
    )
    introspection = Introspection(
        catalog=catalog,
        pools=pools,
        directory=directory,
        keys=services.keys,
        budgets=budgets,
        started_at=int(time.time()),
        problems=partial(_problems, catalog, state),
    )
    stats = QuotaStats(keys=services.keys, pools=pools, state=state, clock=clock)
    dry_run = DryRun(catalog.dialects, router, sanitizers, calls, pools)
    admin_keys = ClientKeys({"admin": admin})
    operations = Operations(
        keys=admin_keys,
        admin_key=admin.get_secret_value(),
        router=router,
        pools=pools,
        recent=services.recent,
        dry_run=dry_run,
        runtime_dir=loaded.runtime_dir,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(upstream)
            await resources.enter_async_context(fetcher)
            await resources.enter_async_context(state)
            await resources.enter_async_context(observers)
            await resources.enter_async_context(batcher)
            if recorder is not None:
                await resources.enter_async_context(recorder)
            yield

    scrape = (
        None
        if meter is None
        else Scrape(
            meter=meter,
            keys=admin_keys,
            admin_key=admin.get_secret_value(),
            open=settings.metrics.open,
            runtime_dir=loaded.runtime_dir,
        )
    )
    app = build_app(catalog.dialects, services, introspection, operations, stats, lifespan, scrape)
    return Proxy(
        app=app,
        loaded=loaded,
        catalog=catalog,
        pools=pools,
        services=services,
        directory=directory,
        dry_run=dry_run,
        state=state,
        fingerprint=fingerprint,
        scrub=scrub,
        redaction=redaction,
        meter=meter,
        warnings=warnings,
    )


def _secrets(
    clients: Mapping[str, SecretStr], pools: Mapping[str, Pool], loaded: LoadedSettings, catalog: Catalog
) -> Iterator[str]:
    """Everything that must never be written or repeated."""
    yield from secret_values(clients)
    yield from (c.secret.get_secret_value() for pool in pools.values() for c in pool.credentials)
    yield from secret_values(loaded.settings)
    yield from secret_values([loaded.provider(name) for name in {*loaded.provider_names(), *catalog.providers}])
    for plugin in catalog.plugins:
        if plugin.state == "active" and plugin.info is not None and plugin.info.settings is not None:
            yield from secret_values(loaded.plugin(plugin.name, plugin.info.settings))


def _problems(catalog: Catalog, state: SharedState) -> list[str]:
    """What does not work as it should, for ``/readyz``."""
    found = [f"plugin {p.name}: {p.state}" for p in catalog.plugins if p.state == "skipped"]
    return [*found, f"state store: {state.problem}"] if state.problem is not None else found


def state_store(catalog: Catalog, loaded: LoadedSettings) -> tuple[StateStore, str]:
    """The store that settings choose, and its URL. Raises ``SettingsError``."""
    configured = loaded.settings.state.url
    url = configured.get_secret_value() if configured else f"sqlite:///{loaded.data_dir.absolute() / 'state.db'}"
    scheme = url.partition(":")[0]
    if scheme not in catalog.state_stores:
        known = ", ".join(sorted(catalog.state_stores))
        raise SettingsError([f"state.url: no store for {scheme!r}: is one of {known}"])
    return catalog.state_stores[scheme], url


def _named_deployments(loaded: LoadedSettings, per_provider: Mapping[str, ProviderSettings]) -> Iterator[str]:
    """``provider/model`` of every model that settings name."""
    for route in loaded.settings.models.values():
        yield from route.deployments
    for name, provider in per_provider.items():
        yield from (f"{name}/{options.id or model}" for model, options in provider.models.items())


async def open_store(loaded: LoadedSettings) -> StateBackend:
    """The state of this installation, without a proxy around it. Raises ``SettingsError`` and what the store raises."""
    plugins = load_plugins(loaded, built_in=[BuiltIn(loaded)], only=("proxy_state_stores",))
    store, url = state_store(build_catalog(plugins), loaded)
    return await store.open(url)
