"""How ``state.url`` is parsed, and that messages repeat no part of it."""

import logging
from pathlib import Path

import pytest

from proxy_core import PluginSettings, SettingsError
from proxy_plugin_redis import PLUGIN, proxy_state_stores
from proxy_plugin_redis.address import read_address
from proxy_plugin_redis.settings import RedisSettings


def test_an_address_has_defaults():
    read = read_address("redis://store.lan", prefix="p")

    assert (str(read), read.database, read.username, read.password, read.tls) == (
        "store.lan:6379",
        0,
        None,
        None,
        False,
    )
    assert read.prefix == "p"


def test_an_address_says_everything_it_can():
    url = "valkeys://me:p%40ss%2Fword@[::1]:7000/3?prefix=team-a&ssl_ca_certs=/etc/ca.pem"

    read = read_address(url, prefix="p")

    assert (str(read), read.database, read.username, read.tls) == ("[::1]:7000", 3, "me", True)
    assert read.password is not None
    assert read.password.get_secret_value() == "p@ss/word"
    assert (read.prefix, read.files) == ("team-a", {"ssl_ca_certs": "/etc/ca.pem"})


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:hunter2/x@host",
        "redis://hunter2:x/y@host/0",
        "redis://:hunter2#x@host",
        "redis://u:hunter2@host:99999999",
        "redis://u:hunter2@host/no-number",
        "redis://u:hunter2@host/-1",
        "redis://u:hunter2@host?hunter2",
        "redis://u:hunter2@host?ssl_cert_reqs=none",
        "redis://u:hunter2@host?ssl_ca_certs=/needs/rediss",
        "rediss://u:hunter2@host?ssl_cert_reqs=none",
        "redis://u:hunter2@host?prefix={hunter2}",
        "redis://u:hunter2@[host",
        "http://u:hunter2@host",
    ],
)
def test_an_invalid_address_is_an_error_that_repeats_nothing(url):
    with pytest.raises(SettingsError) as caught:
        read_address(url, prefix="p")

    assert str(caught.value).startswith("state.url: ")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


class Context:
    plugin = "redis"
    log = logging.getLogger("test")
    data_dir = Path()
    reserved_providers = frozenset()

    def settings(self, cls: type[PluginSettings]) -> PluginSettings:
        return cls(prefix="mine")


async def test_the_plugin_brings_a_store_for_each_scheme():
    assert (PLUGIN.name, PLUGIN.settings) == ("redis", RedisSettings)
    stores = {store.scheme: store for store in proxy_state_stores(Context())}

    assert stores.keys() == {"redis", "rediss", "valkey", "valkeys"}
    # Opening does not connect: a store may be unreachable at startup.
    opened = await stores["valkey"].open("valkey://:hunter2@127.0.0.1:1")
    assert repr(opened) == "RedisBackend(127.0.0.1:1)"
    await opened.close()
