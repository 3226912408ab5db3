"""``[plugins.redis]``."""

from __future__ import annotations

from pydantic import Field

from proxy_core import PluginSettings

#: No braces: the whole prefix is the hash tag that keeps all keys in one slot of a cluster.
PREFIX = r"^[A-Za-z0-9_.:-]{1,64}$"


class RedisSettings(PluginSettings):
    """``[plugins.redis]``; ``PROXY_PLUGINS__REDIS__<KEY>`` wins over the file."""

    prefix: str = Field(
        "proxy-core",
        pattern=PREFIX,
        description="Prefix of all keys; proxies with the same prefix share state.",
    )
    timeout_s: float = Field(2, gt=0, le=5, description="Longest wait for a connection, and for each response.")
