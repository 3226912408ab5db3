"""Composition: settings become plugins, a catalog, pools and an application.

Nothing here opens a connection; the application's lifespan does, and closes what it opened.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from starlette.applications import Starlette

from proxy_core.builtin import BuiltIn
from proxy_core.catalog import Catalog, build_catalog
from proxy_core.clock import Clock, SystemClock
from proxy_core.credentials.fingerprint import anonymous, api_key
from proxy_core.credentials.pool import Pool
from proxy_core.errors import SettingsError
from proxy_core.fetch import GuardedFetcher
from proxy_core.interfaces import Credential, Provider, Selector
from proxy_core.loading import LoadedSettings, load, secret_values
from proxy_core.pipeline.calls import Calls
from proxy_core.pipeline.discovery import ModelDirectory
from proxy_core.pipeline.dryrun import DryRun
from proxy_core.pipeline.executor import Executor, Limits
from proxy_core.pipeline.observe import Observers
from proxy_core.pipeline.sanitize import Sanitizers
from proxy_core.plugins import HOOKS, Module, check_guards, load_plugins
from proxy_core.records.recorder import Recorder
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.records.ring import RecentRequests
from proxy_core.rotation import DEFAULT_PRIORITY, RotationSettings
from proxy_core.routing import Router
from proxy_core.server.admin import Introspection
from proxy_core.server.app import build_app
from proxy_core.server.auth import ClientKeys
from proxy_core.server.clientkey import admin_key, client_keys
from proxy_core.server.endpoint import Services
from proxy_core.server.operate import Operations
from proxy_core.settings import ProviderSettings
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
    scrub: SecretScrubber
    redaction: Redaction
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
    per_provider = {name: loaded.provider(name, _rotations(catalog)) for name in catalog.providers}
    router = Router(catalog.providers, per_provider, {n: r.deployments for n, r in settings.models.items()})
    _selector(catalog, settings.routing.selector, "routing.selector")
    pools = {
        name: _pool(provider, per_provider[name], loaded, catalog, clock)
        for name, provider in catalog.providers.items()
    }
    keys = client_keys(loaded)
    admin = admin_key(loaded)
    scrub = SecretScrubber(_secrets({**keys, "admin": admin}, pools, loaded, catalog))
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
    services = Services(
        keys=ClientKeys(keys),
        router=router,
        sanitizers=sanitizers,
        executor=Executor(
            pools=pools,
            upstream=upstream,
            calls=calls,
            limits=limits,
            clock=clock,
            scrub=scrub,
            fetcher=fetcher,
        ),
        observers=observers,
        recorder=recorder,
        scrub=scrub,
        clock=clock,
        max_body_bytes=settings.server.max_body_bytes,
        reply_headers=settings.server.reply_headers,
        recent=RecentRequests(settings.routing.explained),
        streams=settings.streams,
        timeouts=settings.timeouts,
    )
    warnings = _warnings(loaded, catalog, router)
    directory = ModelDirectory(
        catalog.providers, per_provider, pools, router, upstream, scrub, clock, settings.routing.models_ttl_s
    )
    introspection = Introspection(
        catalog=catalog,
        pools=pools,
        directory=directory,
        keys=services.keys,
        started_at=int(time.time()),
        problems=lambda: [f"plugin {p.name}: {p.state}" for p in catalog.plugins if p.state == "skipped"],
    )

    dry_run = DryRun(catalog.dialects, router, sanitizers, calls, pools)
    operations = Operations(
        keys=ClientKeys({"admin": admin}),
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
            await resources.enter_async_context(observers)
            if recorder is not None:
                await resources.enter_async_context(recorder)
            yield

    app = build_app(catalog.dialects, services, introspection, operations, lifespan)
    return Proxy(
        app=app,
        loaded=loaded,
        catalog=catalog,
        pools=pools,
        services=services,
        directory=directory,
        dry_run=dry_run,
        scrub=scrub,
        redaction=redaction,
        warnings=warnings,
    )


def _pool(
    provider: Provider, settings: ProviderSettings, loaded: LoadedSettings, catalog: Catalog, clock: Clock
) -> Pool:
    routing, rotation = loaded.settings.routing, settings.rotation.over(provider.rotation)
    selector = _selector(catalog, rotation.selector or routing.selector, f"providers.{provider.name}.rotation.selector")
    return Pool(_credentials(provider, settings, loaded), selector, clock, rotation, routing)


def _selector(catalog: Catalog, name: str, key: str) -> Selector:
    if name not in catalog.selectors:
        raise SettingsError([f"{key}: {name!r} is not one of {', '.join(sorted(catalog.selectors))}"])
    return catalog.selectors[name]


def _credentials(provider: Provider, settings: ProviderSettings, loaded: LoadedSettings) -> list[Credential]:
    """API keys from settings, each secret once; a stand-in for providers that need none."""
    variables = [v.name for v in loaded.sources.key_variables(provider.name)]
    tiers = {**provider.rotation.tiers, **settings.rotation.tiers}
    found: dict[str, Credential] = {}
    for index, entry in enumerate(settings.api_keys):
        place = variables[index] if index < len(variables) else f"providers.{provider.name}.api_keys[{index}]"
        priority = entry.priority if entry.priority is not None else tiers.get(entry.tier or "", DEFAULT_PRIORITY)
        credential = api_key(provider.name, entry.key, entry.label or place, tier=entry.tier, priority=priority)
        found.setdefault(credential.id, credential)
    if not found and provider.anonymous:
        return [anonymous(provider.name)]
    return list(found.values())


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


def _rotations(catalog: Catalog) -> dict[str, RotationSettings]:
    """How plugins would have their providers' credentials spent."""
    return {name: provider.rotation for name, provider in catalog.providers.items()}


def _warnings(loaded: LoadedSettings, catalog: Catalog, router: Router) -> list[str]:
    """What an operator should know at startup; none of it stops the proxy."""
    lines = [f"plugin {p.name} is not used: {p.reason}" for p in catalog.plugins if p.state == "skipped"]
    lines += router.warnings
    lines += [f"no active plugin brings provider {n!r}" for n in loaded.provider_names() if n not in catalog.providers]
    lines += loaded.without_effect(_rotations(catalog))
    lines += [f"{name} sets nothing: no such setting" for name in loaded.sources.stray()]
    lines += [
        f"{name} is not used: no provider of that name"
        for name in loaded.sources.key_variables_of_others(list(catalog.providers))
    ]
    lines += [
        f"provider {name} has ended{f' on {p.lifecycle.until}' if p.lifecycle.until else ''}: {p.lifecycle.note}"
        for name, p in catalog.providers.items()
        if p.lifecycle.status == "ended"
    ]
    return lines
