"""Composition: settings become plugins, a catalog, pools and an application.

Nothing here opens a connection; the application's lifespan does, and closes what it opened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from starlette.applications import Starlette

from proxy_core.clock import Clock, SystemClock
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.refresher import Keeper, keep_all
from proxy_core.credentials.vault import Vault
from proxy_core.errors import SettingsError
from proxy_core.interfaces import StateBackend, StateStore
from proxy_core.models.catalog_refresh import FOLDER_NAME as TABLES
from proxy_core.models.catalog_refresh import TableFiles, TableRefresher
from proxy_core.models.directory import ModelDirectory
from proxy_core.models.info import Cards, Catalogs
from proxy_core.models.pricing import Prices
from proxy_core.models.routing import Router
from proxy_core.network.exchange import UpstreamHttpClient
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.upstream import Upstream
from proxy_core.pipeline.accounting import Accounting
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.dry_run import DryRun
from proxy_core.pipeline.executor import Executor
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.plugins.loader import HOOKS, Module, check_guards, load_plugins
from proxy_core.plugins.registry import Catalog, build_catalog
from proxy_core.records.recent import RecentRequests
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.rotation.pool import Pool
from proxy_core.runtime.advice import startup_warnings
from proxy_core.runtime.application import Parts, application
from proxy_core.runtime.builtin import BuiltIn
from proxy_core.runtime.pools import build_pools, open_vault, rotations, stored_credentials
from proxy_core.server.auth import ClientKeys, KeyPlaces
from proxy_core.server.client_key import admin_key, client_keys, state_secret
from proxy_core.server.interrupt import ServerStopping
from proxy_core.server.pages import Feeds
from proxy_core.server.services import Running, Services
from proxy_core.settings.loading import LoadedSettings, load, secret_values
from proxy_core.settings.schema import ProviderSettings, ProxySettings, RecordSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.shared import SharedState
from proxy_core.state.usage import UsageBook
from proxy_core.status.counters import Counters
from proxy_core.status.plugin_times import PluginTimes
from proxy_core.status.view import StatusView, Worker
from proxy_core.version import USER_AGENT

#: Commands are the command line's business; a server does not ask for them.
_SERVER_HOOKS = tuple(hook for hook in HOOKS if hook != "proxy_cli_commands")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A composed proxy, ready to be served.

    ``state`` is entered once and goes on when settings are read again; ``resources`` are this proxy's own.
    """

    app: Starlette
    loaded: LoadedSettings
    catalog: Catalog
    providers: Mapping[str, ProviderSettings]
    pools: Mapping[str, Pool]
    services: Services
    executor: Executor
    directory: ModelDirectory
    dry_run: DryRun
    state: SharedState
    vault: Vault
    resources: Sequence[AbstractAsyncContextManager[Any]]
    fingerprint: Fingerprints
    scrub: SecretScrubber
    redaction: Redaction
    status: StatusView
    feeds: Feeds
    warnings: Sequence[str]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """With what it opens, but ``state``."""
        async with AsyncExitStack() as opened:
            for resource in self.resources:
                await opened.enter_async_context(resource)
            yield
        for pool in self.pools.values():
            pool.heir = None  # nothing happens here any more that it should hear of

    def interrupt(self, reason: ServerStopping) -> None:
        self.services.running.interrupt(reason)

    def retire(self) -> None:
        self.feeds.end_all()


def create_app(config: str | Path | None = None) -> Starlette:
    """An ASGI application from a settings file, the environment and defaults, for any ASGI server.

    Raises ``SetupError``.
    """
    return compose(load(Path(config) if config else None)).app


def compose(
    loaded: LoadedSettings,
    clock: Clock | None = None,
    modules: Sequence[Module] = (),
    previous: Proxy | None = None,
    *,
    to_run: bool = True,
    worker: Worker | None = None,
) -> Proxy:
    """Put a proxy together. ``modules`` are plugins that are not installed, as in a test.

    Not ``to_run``: only to see whether it can be done; no token is written. ``worker``: which of several it is.

    ``previous`` is the one whose place it will take: what goes on is shared with it, which
    nobody notices before :func:`proxy_core.runtime.reload.hand_over`.
    Raises ``SetupError`` for what the operator must mend.
    """
    settings = loaded.settings
    clock = clock or (previous.services.clock if previous else SystemClock())
    was = previous.services if previous else None
    plugins = load_plugins(loaded, built_in=[BuiltIn(loaded), *modules], only=_SERVER_HOOKS)
    check_guards(loaded, plugins)
    catalog = build_catalog(plugins, sanitizer_order=settings.sanitizers.order)
    times = previous.status.times if previous else PluginTimes()
    catalog = times.watch(catalog)
    per_provider = {name: loaded.provider(name, rotations(catalog)) for name in catalog.providers}
    router = Router(catalog.providers, per_provider, {n: r.deployments for n, r in settings.models.items()})
    secret = state_secret(loaded)
    fingerprint = Fingerprints(secret)
    vault = previous.vault if previous else open_vault(catalog, loaded)
    stored = stored_credentials(catalog, loaded, vault, adopt=to_run)
    pools = build_pools(catalog, per_provider, loaded, stored, fingerprint, clock)
    keys, admin = client_keys(loaded), admin_key(loaded)
    scrub = was.scrub if was else SecretScrubber(())
    scrub.learn(*_secrets({**keys, "admin": admin, "state": secret}, pools, loaded, catalog))
    upstream = _upstream(settings)
    every_s = settings.credentials.refresh_interval_s
    keeper = Keeper(vault, UpstreamHttpClient(upstream), clock, fingerprint, scrub.learn, every_s)
    keep_all(keeper, pools, catalog.refreshers, stored, catalog.providers)
    fetcher = GuardedFetcher(user_agent=USER_AGENT, reach=settings.upstream.fetch_links)
    observers = Observers(catalog.observers)
    redaction = Redaction(catalog.redactors)
    recorder = _recorder(catalog, redaction, scrub, settings.records)
    calls = Calls(catalog.dialects, settings.streams.max_event_bytes)
    sanitizers = Sanitizers(catalog.sanitizers)
    budgets = Budgets(settings.clients, clock)
    usage = was.usage if was else UsageBook()
    state = (
        previous.state
        if previous
        else _state(catalog, loaded, pools, usage, budgets, clock, kept_words(redaction, scrub))
    )
    executor = Executor(
        router=router,
        sanitizers=sanitizers,
        pools=pools,
        upstream=upstream,
        calls=calls,
        settings=settings,
        clock=clock,
        scrub=scrub,
        fetcher=fetcher,
    )
    running = Running(all=was.running.all) if was else Running()
    counters = was.accounting.counters if was else Counters()
    counters.know(_named_deployments(loaded, per_provider))
    directory = ModelDirectory(
        catalog.providers, per_provider, pools, router, upstream, scrub, clock, settings.routing.models_ttl_s
    )
    tables = TableFiles(loaded.data_dir / TABLES)
    cards = Cards(per_provider, Catalogs(catalog.model_catalogs, tables.text), directory.listed)
    recent = was.recent if was else RecentRequests(settings.routing.explain_history)
    prices = Prices(cards, catalog.providers, pools)
    accounting = Accounting(
        counters=counters,
        observers=observers,
        recent=recent,
        recorder=recorder,
        budgets=budgets,
        usage=usage,
        prices=prices,
    )
    services = Services(
        keys=ClientKeys(keys, KeyPlaces().of(catalog.dialects.values())),
        router=router,
        pipeline=executor,
        accounting=accounting,
        observers=observers,
        budgets=budgets,
        usage=usage,
        prices=prices,
        recorder=recorder,
        scrub=scrub,
        clock=clock,
        max_body_bytes=settings.server.max_body_bytes,
        response_headers=settings.server.response_headers,
        recent=recent,
        streams=settings.streams,
        timeouts=settings.timeouts,
        running=running,
    )
    dry_run = DryRun(catalog.dialects, router, sanitizers, calls, pools)
    opened: list[AbstractAsyncContextManager[Any]] = [upstream, fetcher, keeper, observers, executor.batcher]
    opened.append(TableRefresher(cards.catalogs, tables, upstream, clock))
    if recorder is not None:
        opened.append(recorder)
    warnings, feeds = startup_warnings(loaded, catalog, router), Feeds()
    status = StatusView(
        clock=clock,
        worker=worker or (previous.status.worker if previous else Worker()),
        started_at=previous.status.started_at if previous else clock.now(),
        catalog=catalog,
        pools=pools,
        state=state,
        keeper=keeper,
        observers=observers,
        recorder=recorder,
        redaction=redaction,
        recent=services.recent,
        counters=counters,
        times=times,
        in_flight=lambda: len(running.all),
        warnings=warnings,
    )
    parts = Parts(loaded, catalog, pools, services, directory, dry_run, cards, state, status, feeds, opened)
    return Proxy(
        app=application(parts, admin),
        loaded=loaded,
        catalog=catalog,
        providers=per_provider,
        pools=pools,
        services=services,
        executor=executor,
        directory=directory,
        dry_run=dry_run,
        state=state,
        vault=vault,
        resources=opened,
        fingerprint=fingerprint,
        scrub=scrub,
        redaction=redaction,
        status=status,
        feeds=feeds,
        warnings=warnings,
    )


def _upstream(settings: ProxySettings) -> Upstream:
    return Upstream(
        user_agent=USER_AGENT,
        max_connections=settings.upstream.max_connections,
        connect_s=settings.timeouts.connect_s,
        pool_s=settings.timeouts.pool_s,
    )


def _recorder(
    catalog: Catalog, redaction: Redaction, scrub: SecretScrubber, settings: RecordSettings
) -> Recorder | None:
    if not settings.enabled:
        return None
    return Recorder(catalog.log_sinks, redaction, scrub, max_body_bytes=settings.max_body_bytes)


def _state(
    catalog: Catalog,
    loaded: LoadedSettings,
    pools: Mapping[str, Pool],
    usage: UsageBook,
    budgets: Budgets,
    clock: Clock,
    clean: Callable[[str], str],
) -> SharedState:
    store, url = state_store(catalog, loaded)
    return SharedState(store, url, loaded.settings.state, pools, usage, budgets, clock, clean)


def kept_words(redaction: Redaction, scrub: SecretScrubber) -> Callable[[str], str]:
    """What is kept of an upstream's words."""
    return lambda words: scrub.text(redaction.words(words))


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
