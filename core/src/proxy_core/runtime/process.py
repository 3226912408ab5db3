"""What outlives a reload: all state that a process has gathered, created once and never replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from proxy_core.clock import Clock, SystemClock
from proxy_core.credentials.encryption import encryption_of
from proxy_core.credentials.fingerprint import Fingerprints
from proxy_core.credentials.quotas import QuotaAsker
from proxy_core.credentials.refresher import Refresher
from proxy_core.credentials.vault import Vault
from proxy_core.errors import SettingsError
from proxy_core.interfaces import StateStore
from proxy_core.network.exchange import UpstreamHttpClient
from proxy_core.network.upstream import Upstream
from proxy_core.pipeline.hedge import HedgeBudget
from proxy_core.plugins.registry import Catalog
from proxy_core.plugins.watched import PluginWatch
from proxy_core.records.recent import RecentRequests
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.pool import Pool
from proxy_core.runtime.generation import Generation
from proxy_core.server.client_key import state_secret
from proxy_core.server.interrupt import Interruptible
from proxy_core.settings.loading import LoadedSettings
from proxy_core.state.budgets import Budgets
from proxy_core.state.shared import SharedState
from proxy_core.state.usage import UsageBook
from proxy_core.status.counters import Counters
from proxy_core.status.view import StatusView, Worker
from proxy_core.version import USER_AGENT

#: There are few token servers, and requests to them are rare.
_CONNECTIONS = 20


class Process:
    """The state of one operating system process.

    Settings are applied only by :meth:`configure`, which awaits nothing, so no request sees half of them.
    """

    def __init__(
        self, loaded: LoadedSettings, catalog: Catalog, clock: Clock | None = None, worker: Worker | None = None
    ) -> None:
        """``worker``: which of several processes this is. Raises ``SettingsError`` for a state store that no
        plugin provides, or a state secret that cannot be stored."""
        self.clock = clock or SystemClock()
        self.worker = worker or Worker()
        self.started_at = self.clock.now()
        self.fingerprint = Fingerprints(state_secret(loaded))
        self.scrub = SecretScrubber(())
        self.redaction = Redaction(())
        self.vault = Vault(loaded.vault_dir, encryption=encryption_of(loaded.settings.credentials))
        timeouts = loaded.settings.timeouts
        #: For token servers and quota queries.
        self.upstream = Upstream(
            user_agent=USER_AGENT, max_connections=_CONNECTIONS, connect_s=timeouts.connect_s, pool_s=timeouts.pool_s
        )
        http = partial(UpstreamHttpClient, self.upstream)
        self.refresher = Refresher(self.vault, http, self.clock, self.fingerprint, self.scrub.learn)
        self.quotas = QuotaAsker(http, self.clock)
        #: By provider. The pool of a removed provider stays until its last lease is returned.
        self.pools: dict[str, Pool] = {}
        self.usage = UsageBook()
        self.budgets = Budgets(self.clock)
        self.recent = RecentRequests(0)
        self.hedge_budget = HedgeBudget()
        self.in_flight: set[Interruptible] = set()
        #: Where it listens; not known if another program serves it.
        self.url = ""
        self.counters = Counters()
        self.plugin_watch = PluginWatch(self.clock)
        #: What was dropped and what failed under earlier generations.
        self.lost_before: Counter[str] = Counter()
        self._status: StatusView | None = None
        store, url = state_store(catalog, loaded)
        self.state = SharedState(
            store,
            url,
            loaded.settings.state,
            self.pools,
            self.usage,
            self.budgets,
            self.clock,
            lambda message: self.scrub.text(self.redaction.words(message)),
        )

    def pool(self, provider: str, policy: Policy) -> Pool:
        """The provider's pool; a new one has no credentials and joins the process in :meth:`configure`."""
        known = self.pools.get(provider)
        if known is not None:
            return known
        return Pool(self.clock, policy, logins=self.refresher, changed=self.state.wake)

    def configure(self, new: Generation) -> None:
        """Apply these settings from now on; state is kept. Cannot fail and awaits nothing."""
        settings = new.loaded.settings
        self.redaction = new.redaction
        self._configure_pools(new)
        timeouts = settings.timeouts
        self.upstream.configure(connect_s=timeouts.connect_s, pool_s=timeouts.pool_s, routes=new.routes)
        self.refresher.configure(new.logins, settings.credentials.refresh_interval_s)
        self.quotas.configure(new.catalog.providers, self.pools)
        self.budgets.configure(settings.clients)
        self.recent.resize(settings.routing.explain_history)
        self.counters.know(new.deployments())
        self._configure_status(new.status)
        self.state.configure(settings.state)

    def _configure_pools(self, new: Generation) -> None:
        self.pools.update(new.pools)
        for name, pool in list(self.pools.items()):
            if name in new.plans:
                pool.configure(new.plans[name].credentials, new.plans[name].policy)
                continue
            pool.configure((), pool.ledger.policy)
            if not pool.in_flight:
                del self.pools[name]

    def _configure_status(self, new: StatusView) -> None:
        if self._status is not None and self._status is not new:
            self.lost_before.update(self._status.lost_now())
        self._status = new

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the state store, refresh tokens and ask for quotas. Enter it after the first :meth:`configure`."""
        async with self.state, self.upstream, self.refresher, self.quotas:
            yield


def state_store(catalog: Catalog, loaded: LoadedSettings) -> tuple[StateStore, str]:
    """The store and its URL. Raises ``SettingsError``."""
    configured = loaded.settings.state.url
    url = configured.get_secret_value() if configured else f"sqlite:///{loaded.data_dir.absolute() / 'state.db'}"
    scheme = url.partition(":")[0]
    if scheme not in catalog.state_stores:
        known = ", ".join(sorted(catalog.state_stores))
        raise SettingsError([f"state.url: there is no store for {scheme!r}; known are {known}"])
    return catalog.state_stores[scheme], url
