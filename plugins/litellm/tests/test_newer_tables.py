"""Newer tables of models: when they are asked for, what is kept, what is believed."""

import asyncio
import json

import pytest

from proxy_core.testing import open_exchange
from proxy_plugin_litellm.newer_tables import NewerTables
from proxy_plugin_litellm.table import load_table

NEWER = {"only-in-the-newer": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 2}}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "table.json"


@pytest.fixture
async def http():
    async with open_exchange() as running:
        yield running


@pytest.fixture
def tables(file, upstream):
    def make(every_s=3600.0, path="/table.json"):
        return NewerTables(file, upstream.url + path, every_s)

    return make


def length(find):
    found = find("openai", "only-in-the-newer")
    return found.context_length if found is not None else None


async def first(tables, http):
    async with asyncio.timeout(20):
        return await anext(tables.fetched(http))


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_newer_table_is_used_kept_and_not_fetched_again_after_a_restart(tables, http, upstream):
    upstream.responds(200, NEWER)
    assert tables().load() is load_table()
    assert length(await first(tables(), http)) == 2

    again = tables()
    assert length(again.load()) == 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(again.fetched(http)), 0.2)
    assert len(upstream.requests) == 1


async def test_the_next_question_is_conditional(tables, http, upstream):
    upstream.responds(200, NEWER, headers={"etag": '"v2"', "last-modified": "Wed, 25 Nov 2026 00:00:00 GMT"})
    upstream.responds(304, body=b"")
    upstream.responds(200, {"other": NEWER["only-in-the-newer"]})
    running = tables(every_s=0.05).fetched(http)

    assert length(await anext(running)) == 2
    third = await asyncio.wait_for(anext(running), 20)

    assert [request.headers.get("if-none-match") for request in upstream.requests] == [None, '"v2"', '"v2"']
    assert upstream.requests[1].headers["if-modified-since"] == "Wed, 25 Nov 2026 00:00:00 GMT"
    assert (length(third), third("openai", "other").context_length) == (None, 2)


ODD = [(200, b"<html>"), (200, b"\xff"), (200, b'{"no": 1}'), (404, b""), (302, b""), (304, b"")]


@pytest.mark.parametrize(("status", "body"), ODD)
async def test_an_answer_that_is_no_table_changes_nothing_and_is_asked_for_again(tables, http, upstream, status, body):
    upstream.responds(status, body=body)
    upstream.responds(200, NEWER)
    running = asyncio.ensure_future(first(tables(every_s=0.2), http))
    await until(lambda: upstream.requests)
    assert tables().load() is load_table()

    assert length(await running) == 2


async def test_a_server_that_cannot_be_reached_changes_nothing(file, http):
    unreachable = NewerTables(file, "http://127.0.0.1:1/table.json", 3600)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(unreachable.fetched(http)), 0.5)
    assert unreachable.load() is load_table()


async def test_a_table_from_another_address_is_not_used(tables, http, upstream):
    upstream.responds(200, NEWER)
    await first(tables(), http)

    assert tables(path="/other.json").load() is load_table()


@pytest.mark.parametrize("damaged", ["{", "its text"])
async def test_a_damaged_file_is_no_table(tables, file, http, upstream, damaged):
    upstream.responds(200, NEWER)
    await first(tables(), http)
    assert file.stat().st_mode & 0o777 == 0o600
    kept = json.loads(file.read_text())
    file.write_text(damaged if damaged == "{" else json.dumps({**kept, "text": "{"}))

    assert tables().load() is load_table()


async def test_a_proxy_fetches_nothing_before_a_table_is_needed_and_then_uses_it(make_proxy, upstream, file):
    upstream.for_path("/newer.json").responds(200, NEWER)
    proxy = await make_proxy(
        {
            "providers": {"openai": {"base_url": upstream.url, "api_keys": ["key-a"], "models": ["only-in-the-newer"]}},
            "plugins": {"litellm": {"table_url": upstream.url + "/newer.json"}},
        }
    )
    await asyncio.sleep(0.2)
    asked = [request for request in upstream.requests if "newer" in request.path]

    async with asyncio.timeout(20):
        while True:
            models = (await proxy.get("/models")).json["data"]
            if models[0].get("context_length") == 2:
                break
            await asyncio.sleep(0.05)

    assert asked == []
    assert models[0]["id"] == "openai/only-in-the-newer"
