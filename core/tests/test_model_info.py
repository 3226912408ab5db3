"""What is known of a model: who is believed, and what it costs."""

import asyncio
import threading

import pytest

from proxy_core import ModelCatalog, ModelInfo, Provider, ProviderSettings
from proxy_core.messages import Usage
from proxy_core.models.info import Catalogs, ModelInfos, merged
from proxy_core.models.pricing import Prices
from proxy_core.settings.schema import DeploymentRoute

CARD = ModelInfo(context_length=1, input_price=1.0, output_price=2.0, capabilities={"vision": True, "reasoning": True})


def catalog(*known, name="table", rank=0, seen=None):
    def load():
        if seen is not None:
            seen.append(threading.current_thread())
        return lambda provider, model: dict(known).get((provider, model))

    return ModelCatalog(name=name, load=load, rank=rank)


def settings(**model):
    return {"demo": ProviderSettings.model_validate({"models": {"small": model}, "preset": "vendor"})}


def test_each_field_comes_from_the_first_source_that_has_it_and_prices_stay_together():
    sourced = merged(
        [
            ("settings", ModelInfo(context_length=7, input_price=5.0, capabilities={"vision": False})),
            ("provider", ModelInfo(max_output_tokens=3)),
            ("table", CARD),
        ]
    )

    assert sourced.info == ModelInfo(
        context_length=7, max_output_tokens=3, input_price=5.0, capabilities={"vision": False, "reasoning": True}
    )
    assert sourced.sources == {
        "context_length": "settings",
        "max_output_tokens": "provider",
        "prices": "settings",
        "capabilities": "settings, table",
    }


async def test_catalogs_are_read_once_in_a_thread_when_first_needed():
    seen = []
    catalogs = Catalogs([catalog((("demo", "m"), CARD), seen=seen)])

    assert not catalogs.loaded
    assert list(catalogs.find("demo", "m")) == []
    await asyncio.gather(*(catalogs.load() for _ in range(5)))
    assert [thread is threading.main_thread() for thread in seen] == [False]
    assert list(catalogs.find("demo", "m")) == [("table", CARD)]
    assert Catalogs([]).loaded


async def test_an_unreadable_catalog_is_reported_once_and_counts_as_empty(caplog):
    def broken():
        raise OSError("no table")

    catalogs = Catalogs([ModelCatalog(name="broken", load=broken), catalog((("demo", "m"), CARD))])
    await catalogs.load()
    await catalogs.load()

    assert list(catalogs.find("demo", "m")) == [("table", CARD)]
    assert [record.message for record in caplog.records] == ["the catalog broken cannot be read and counts as empty"]


async def test_settings_then_the_provider_then_catalogs_then_the_vendors_name():
    catalogs = Catalogs([catalog((("demo", "small-v2"), CARD), (("vendor", "other"), CARD))])
    await catalogs.load()
    listed = {("demo", "small-v2"): ModelInfo(context_length=9)}
    infos = ModelInfos(settings(id="small-v2", max_output_tokens=4), catalogs, lambda *model: listed.get(model))

    assert infos.own_id("demo", "small") == "small-v2"
    assert [source for source, _ in infos.sourced("demo", "small-v2")] == ["settings", "provider", "table"]
    assert infos.info("demo", "small-v2").info.context_length == 9
    assert (
        infos.info("demo", "small-v2", DeploymentRoute(deployments=["a/b"], context_length=8)).info.context_length == 8
    )
    assert infos.info("demo", "other").sources["prices"] == "table"


USED = Usage(prompt=10, completion=5, cached=4, cache_write=1)


def test_tokens_written_to_a_cache_have_their_own_price():
    infos = ModelInfos(settings(input_price=1.0, output_price=2.0, cached_price=0.5, cache_write_price=3.0))

    assert Prices(infos).cost("demo", "small", USED) == pytest.approx((5 * 1 + 4 * 0.5 + 1 * 3 + 5 * 2) / 1e6)


async def test_a_subscription_costs_nothing_unless_settings_say_otherwise():
    free = {"demo": Provider(name="demo", encode=lambda call, credential: None, flat_rate=True)}
    catalogs = Catalogs([catalog((("demo", "small"), CARD), (("demo", "m"), CARD))])
    prices = Prices(ModelInfos(settings(input_price=1.0), catalogs), free)

    assert prices.sure("demo", "m")
    assert (prices.cost("demo", "m", USED), prices.priced("demo", "m").source) == (0.0, "provider")
    assert prices.priced("demo", "small").source == "settings"
    assert Prices(ModelInfos({}, catalogs)).sure("demo", "m") is False
    await catalogs.load()
    assert prices.cost("demo", "m", USED) == 0.0
    assert Prices(ModelInfos({}, catalogs)).priced("demo", "m").source == "table"


# --- Newer tables ------------------------------------------------------------------------


def renewed(*lengths, error=None):
    """A catalog of length 1 with newer versions, each as soon as it is asked for the next."""
    asked = []

    async def newer(http):
        for length in lengths:
            asked.append(http)
            yield lambda provider, model, length=length: ModelInfo(context_length=length)
        if error is not None:
            raise error
        await asyncio.Event().wait()

    one = ModelInfo(context_length=1)
    return ModelCatalog(name="table", load=lambda: lambda provider, model: one, newer=newer), asked


def length(catalogs):
    return [info.context_length for _, info in catalogs.find("any", "model")]


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_newer_tables_are_asked_for_once_a_table_is_needed_and_replace_it():
    table, asked = renewed(2, 3)
    catalogs = Catalogs([table])
    async with catalogs.kept_new("http"):
        await settled()
        assert (asked, catalogs.loaded) == ([], False)
        await catalogs.load()
        before = catalogs.tables
        await settled()

        assert (asked, length(catalogs)) == (["http", "http"], [3])
        assert catalogs.tables is not before


async def test_the_last_table_stays_if_the_next_one_fails(caplog):
    table, _ = renewed(2, error=OSError("disk full"))
    catalogs = Catalogs([table])
    async with catalogs.kept_new("http"):
        await catalogs.load()
        await settled()

        assert length(catalogs) == [2]
    assert "the table of table is not refreshed any more" in caplog.text
