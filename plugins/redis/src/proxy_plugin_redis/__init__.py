"""State store for proxy-core on Redis or Valkey, which several machines can share."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import PluginContext, PluginInfo, StateBackend, StateStore, hookimpl
from proxy_plugin_redis.address import SCHEMES, read_address
from proxy_plugin_redis.settings import RedisSettings

PLUGIN = PluginInfo(name="redis", api=1, settings=RedisSettings)


@hookimpl
def proxy_state_stores(ctx: PluginContext) -> Iterable[StateStore]:
    settings = ctx.settings(RedisSettings)

    async def open_store(url: str) -> StateBackend:
        # Imported only when a store is opened: importing the client library takes a third of a second.
        from proxy_plugin_redis.backend import RedisBackend

        return RedisBackend(read_address(url, prefix=settings.prefix), timeout_s=settings.timeout_s)

    return [StateStore(scheme=scheme, open=open_store) for scheme in SCHEMES]
