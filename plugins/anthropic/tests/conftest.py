"""Proxies with a scripted upstream that speaks OpenAI's format, and Anthropic's client for them."""

import anthropic
import pytest


@pytest.fixture
async def client(proxy):
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url.removesuffix("/v1"), api_key=proxy.key, max_retries=0
    ) as made:
        yield made
