"""pytest fixtures: ``upstream``, ``proxy`` and ``make_proxy``, for async tests run by anyio's plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy_core.testing.proxy import RunningProxy, run_proxy
from proxy_core.testing.upstream import FakeUpstream

MakeProxy = Callable[..., Awaitable[RunningProxy]]


@pytest.fixture
def anyio_backend() -> str:
    """The proxy runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A scripted upstream."""
    async with FakeUpstream() as running:
        yield running


@pytest.fixture
async def make_proxy(tmp_path: Path) -> AsyncIterator[MakeProxy]:
    """Start proxies with your own settings: ``await make_proxy({"models": ...}, modules=[...])``."""
    async with AsyncExitStack() as running:

        async def make(settings: dict[str, Any], **more: Any) -> RunningProxy:
            return await running.enter_async_context(run_proxy(settings, folder=tmp_path, **more))

        yield make


@pytest.fixture
async def proxy(upstream: FakeUpstream, make_proxy: MakeProxy) -> RunningProxy:
    """A proxy with one provider, ``demo``, that has the keys ``key-a`` and ``key-b`` for ``upstream``.

    It does not wait long for a cooldown to end. It needs the plugin openai_compat.
    """
    provider = {"base_url": upstream.url, "api_keys": ["key-a", "key-b"]}
    return await make_proxy({"providers": {"demo": provider}, "routing": {"selector": "sequential", "max_wait_s": 1}})
