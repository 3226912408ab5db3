"""Responses kept for clients of the Responses API: by several workers, and by two proxies on one real Redis."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import openai
import pytest
from benchmarks.shared_run import all_workers, redis_binary, redis_server, settings

from proxy_core.testing import serving

pytestmark = pytest.mark.slow

CLIENTS = {"PROXY_CLIENTS__ANN__KEY": "a-long-key-of-ann", "PROXY_CLIENTS__BOB__KEY": "a-long-key-of-bob"}


@contextlib.asynccontextmanager
async def client_of(url, name="ann"):
    """On a connection of its own, which any worker may accept."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=f"a-long-key-of-{name}", max_retries=0) as client:
        yield client


async def create(url, text, name="ann", **fields):
    async with client_of(url, name) as client:
        return await client.responses.create(model="demo/small", input=text, **fields)


async def is_there(url, response, name="ann"):
    async with client_of(url, name) as client:
        try:
            return (await client.responses.retrieve(response.id)) == response
        except openai.NotFoundError:
            return False


async def check_kept_responses(urls):
    """Everything that a client may do with a response, each on another connection; the first of ``urls`` made it."""
    first = await create(urls[0], "hi")
    for url in urls:
        assert await is_there(url, first)
        assert not await is_there(url, first, "bob")
        with pytest.raises(openai.BadRequestError) as refused:
            await create(url, "and?", "bob", previous_response_id=first.id)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
        async with client_of(url, "bob") as bob:
            with pytest.raises(openai.NotFoundError):
                await bob.responses.delete(first.id)
    last = first
    for url in urls:
        last = await create(url, "and?", previous_response_id=last.id)
    async with client_of(urls[0]) as client:
        items = await client.responses.input_items.list(last.id, order="asc")
    assert {item.role for item in items.data} >= {"user"}
    async with client_of(urls[-1]) as client:
        await client.responses.delete(first.id)
    for url in urls:
        assert not await is_there(url, first)
        assert await is_there(url, last)


async def test_any_of_two_workers_continues_and_deletes_what_one_of_them_kept(home, counting):
    variables = settings(counting.url, ["key-a"], 0, **CLIENTS)
    async with serving(home, "--workers", "2", **variables) as program:
        await all_workers(home, 2)
        await check_kept_responses([program.url] * 8)


@pytest.mark.skipif(redis_binary() is None, reason="needs redis-server or valkey-server")
async def test_two_proxies_on_one_redis_keep_responses_for_each_other_until_they_expire(tmp_path, counting):
    with redis_server(tmp_path) as redis, tempfile.TemporaryDirectory(prefix="pc-") as folder:
        homes = [Path(folder, "one"), Path(folder, "other")]
        for home in homes:
            home.mkdir()
        variables = settings(counting.url, ["key-a"], 0, PROXY_STATE__URL=redis.url, **CLIENTS)
        async with serving(homes[0], **variables) as one, serving(homes[1], **variables) as other:
            await check_kept_responses([one.url, other.url, one.url])
        variables["PROXY_PLUGINS__OPENAI_RESPONSES__STORED_S"] = "1"
        async with serving(homes[0], **variables) as one, serving(homes[1], **variables) as other:
            response = await create(one.url, "hi")
            async with asyncio.timeout(20):
                while await is_there(other.url, response):
                    await asyncio.sleep(0.2)
            assert not await is_there(one.url, response)
