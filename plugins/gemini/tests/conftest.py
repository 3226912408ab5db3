"""A fake Google and proxies that use it."""

import pytest

from proxy_plugin_gemini.testing import FakeGemini


@pytest.fixture
async def google():
    async with FakeGemini() as running:
        yield running


@pytest.fixture
def start(make_proxy, google):
    """Starts a proxy with the provider ``gemini``: ``await start(models={...}, routing={...})``."""

    async def make(*, provider=None, **settings):
        tables = {
            "providers": {"gemini": {**google.provider, **(provider or {})}},
            "routing": {"max_wait_s": 5, "retry_delay_s": 0.01, "retry_jitter_s": 0},
            **settings,
        }
        return await make_proxy(tables)

    return make
