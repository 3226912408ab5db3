"""Newer tables of models: when they are asked for, what is kept, what is believed."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from proxy_core import CatalogSource, ModelCatalog, ModelInfo, SystemClock
from proxy_core.models.catalog_refresh import TableFiles, TableRefresher
from proxy_core.models.info import Catalogs
from proxy_core.network.upstream import Upstream
from proxy_core.testing import FakeUpstream


def parse(text):
    length = json.loads(text)["length"]
    return lambda provider, model: ModelInfo(context_length=length)


@pytest.fixture
async def upstream():
    async with FakeUpstream() as running:
        yield running


@pytest.fixture
def opened(tmp_path, upstream):
    """Catalogs with one table, of length 1 as installed, and its refresher."""

    def make(every_s=3600.0, path="/table.json"):
        source = CatalogSource(url=upstream.url + path, every_s=every_s, parse=parse)
        catalog = ModelCatalog(name="table", load=lambda: parse('{"length": 1}'), source=source)
        files = TableFiles(tmp_path / "catalogs")
        catalogs = Catalogs([catalog], files.text)
        sockets = Upstream(user_agent="test", max_connections=2, connect_s=5, pool_s=5)

        @asynccontextmanager
        async def refreshing():
            async with sockets, TableRefresher(catalogs, files, sockets, SystemClock()):
                yield

        return catalogs, refreshing()

    return make


def length(catalogs):
    return [card.context_length for _, card in catalogs.find("any", "model")]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_nothing_is_fetched_before_it_is_needed(opened, upstream):
    catalogs, refresher = opened()
    async with refresher:
        await asyncio.sleep(0.2)

    assert upstream.requests == []
    assert not catalogs.loaded


async def test_a_newer_table_is_used_kept_and_not_fetched_again_after_a_restart(opened, upstream):
    upstream.responds(200, {"length": 2})
    catalogs, refresher = opened()
    async with refresher:
        await catalogs.load()
        assert length(catalogs) == [1]
        await until(lambda: length(catalogs) == [2])

    again, refresher = opened()
    async with refresher:
        await again.load()
        await asyncio.sleep(0.2)
        assert length(again) == [2]
    assert len(upstream.requests) == 1


async def test_the_next_question_is_conditional(opened, upstream):
    upstream.responds(200, {"length": 2}, headers={"etag": '"v2"', "last-modified": "Wed, 25 Nov 2026 00:00:00 GMT"})
    upstream.responds(304, body=b"")
    catalogs, refresher = opened(every_s=0.05)
    async with refresher:
        await catalogs.load()
        await until(lambda: len(upstream.requests) > 1)

    assert upstream.requests[1].headers["if-none-match"] == '"v2"'
    assert upstream.requests[1].headers["if-modified-since"] == "Wed, 25 Nov 2026 00:00:00 GMT"
    assert length(catalogs) == [2]


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (200, b'{"no": 1}'), (404, b""), (302, b"")])
async def test_an_answer_that_is_no_table_changes_nothing(opened, upstream, status, body):
    upstream.responds(status, body=body)
    catalogs, refresher = opened()
    async with refresher:
        await catalogs.load()
        await until(lambda: upstream.requests)
        await asyncio.sleep(0.1)

    assert length(catalogs) == [1]
    assert length_after_restart(opened) == [1]


def length_after_restart(opened):
    catalogs, _ = opened()
    return [card.context_length for _, card in [(n, f("a", "b")) for n, f in catalogs._read()]]


async def test_a_table_from_another_address_is_not_used(opened, upstream):
    upstream.responds(200, {"length": 2})
    catalogs, refresher = opened()
    async with refresher:
        await catalogs.load()
        await until(lambda: length(catalogs) == [2])

    other, _ = opened(path="/other.json")
    await other.load()

    assert length(other) == [1]


async def test_a_damaged_file_is_no_table(opened, upstream, tmp_path):
    upstream.responds(200, {"length": 2})
    catalogs, refresher = opened()
    async with refresher:
        await catalogs.load()
        await until(lambda: length(catalogs) == [2])
    file = tmp_path / "catalogs" / "table.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("{")

    damaged, _ = opened()
    await damaged.load()

    assert length(damaged) == [1]
