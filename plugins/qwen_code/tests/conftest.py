"""A fake Qwen, and proxies that know it."""

import pytest

from proxy_plugin_qwen_code.testing import FakeQwen


@pytest.fixture
async def qwen():
    async with FakeQwen() as running:
        yield running


@pytest.fixture
def start(make_proxy, qwen):
    """A proxy whose logins use the fake; ``keys`` are sent there, too."""

    async def make(*keys, environ=None, plugin=None, clock=None, **settings):
        qwen.keys.update(keys)
        provider = {"base_url": qwen.url, "api_keys": list(keys)} if keys else {}
        tables = {"plugins": {"qwen_code": {**qwen.settings, **(plugin or {})}}, "routing": {"max_wait_s": 5}}
        if provider:
            tables["providers"] = {"qwen_code": provider}
        return await make_proxy({**tables, **settings}, environ=environ, clock=clock)

    return make
