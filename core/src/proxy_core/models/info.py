"""Model info with its sources: settings, the provider itself, then catalogs.

Catalogs are read once, in a thread, when model info is first requested; until then they cost nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.errors import PluginFailed
from proxy_core.interfaces import FindModelInfo, HttpClient, ModelCatalog, ModelInfo
from proxy_core.plugins.faults import is_from_outside
from proxy_core.settings.base import Described, ModelOptions
from proxy_core.settings.schema import ProviderSettings

log = logging.getLogger("proxy_core.models")

#: Sources, in ``_sources`` and ``source``; a catalog goes by its name.
SETTINGS, PROVIDER = "settings", "provider"
PRICES = ("input_price", "output_price", "cached_price", "cache_write_price")
#: From a provider and its own model id to what the provider's list says about it, if it was read.
ListedInfo = Callable[[str, str], ModelInfo | None]


class SourcedInfo(Struct, frozen=True, kw_only=True):
    """A model's info and, by field, its source. All prices come from one source, ``prices``."""

    info: ModelInfo = field(default_factory=ModelInfo)
    sources: Mapping[str, str] = field(default_factory=dict)


class Catalogs:
    """The tables of plugins, in order of precedence."""

    def __init__(self, catalogs: Sequence[ModelCatalog]) -> None:
        self._catalogs = catalogs
        self._first_load = asyncio.Event()
        self._tables: Sequence[tuple[str, FindModelInfo]] | None = None if catalogs else ()
        self._loading = asyncio.Lock()

    @asynccontextmanager
    async def kept_new(self, http: HttpClient) -> AsyncIterator[None]:
        """Within this, newer tables replace those that were loaded, as soon as there are any."""
        newer = [(c.name, c.newer(http)) for c in self._catalogs if c.newer is not None]
        tasks = [asyncio.create_task(self._replace(*given), name=f"newer tables of {given[0]}") for given in newer]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def tables(self) -> object:
        """Another object after each change."""
        return self._tables

    @property
    def loaded(self) -> bool:
        return self._tables is not None

    async def load(self) -> None:
        """Read the tables, once. Takes a moment the first time; only the caller waits for it."""
        if self._tables is not None:
            return
        async with self._loading:
            if self._tables is None:
                self._tables = await asyncio.to_thread(self._read)
                self._first_load.set()

    def find(self, provider: str, model: str) -> Iterator[tuple[str, ModelInfo]]:
        """What the loaded tables say about a model, each with its name."""
        for name, find in self._tables or ():
            try:
                info = find(provider, model)
            except PluginFailed:  # which has been logged
                continue
            if info is not None:
                yield name, info

    async def _replace(self, name: str, newer: AsyncIterator[FindModelInfo]) -> None:
        await self._first_load.wait()
        try:
            async for find in newer:
                self._tables = [(known, find if known == name else old) for known, old in self._tables or ()]
        except BaseException as error:  # a plugin's reader may fail in any way
            if is_from_outside(error):
                raise
            log.warning("the table of %s is not refreshed any more", name, exc_info=True)

    def _read(self) -> list[tuple[str, FindModelInfo]]:
        tables = []
        for catalog in self._catalogs:
            try:
                tables.append((catalog.name, catalog.load()))
            except Exception as error:  # a plugin's table may fail in any way
                told = isinstance(error, PluginFailed)
                log.warning("the catalog %s cannot be read and counts as empty", catalog.name, exc_info=not told)
        return tables


class ModelInfos:
    """Info about any provider's model. ``listed``: what the provider's own list says, if it was read."""

    def __init__(
        self,
        settings: Mapping[str, ProviderSettings],
        catalogs: Catalogs | None = None,
        listed: ListedInfo = lambda provider, model: None,
    ) -> None:
        self._settings = settings
        self._listed = listed
        self._by_id = {
            (provider, options.id or name): options
            for provider, given in settings.items()
            for name, options in given.models.items()
        }
        self.catalogs = catalogs or Catalogs(())

    def sourced(self, provider: str, model: str) -> Iterator[tuple[str, ModelInfo]]:
        """Every source that knows the model, by the provider's own id, best first."""
        settings, options = self._settings.get(provider), self._by_id.get((provider, model))
        if options is not None:
            yield SETTINGS, of_settings(options)
        listed = self._listed(provider, model)
        if listed is not None:
            yield PROVIDER, listed
        yield from self.catalogs.find(provider, model)
        if settings is not None and settings.preset and settings.preset != provider:
            yield from self.catalogs.find(settings.preset, model)

    def seen(self, provider: str, model: str) -> tuple[object, ...]:
        """What :meth:`sourced` reads that may change: it gives the same as long as these are the same objects."""
        return self.catalogs.tables, self._listed(provider, model)

    def own_id(self, provider: str, model: str) -> str:
        """The provider's own id of a model that settings name ``model``."""
        settings = self._settings.get(provider)
        options = settings.models.get(model) if settings else None
        return options.id if options and options.id else model

    def info(self, provider: str, model: str, first: Described | None = None) -> SourcedInfo:
        """All sources merged. ``first``: what settings say about the public model; it takes precedence."""
        over = [(SETTINGS, of_settings(first))] if first is not None else []
        return merged([*over, *self.sourced(provider, model)])


def of_settings(given: Described) -> ModelInfo:
    info = ModelInfo(
        context_length=given.context_length,
        max_output_tokens=given.max_output_tokens,
        input_modalities=given.input_modalities,
        output_modalities=given.output_modalities,
        capabilities=given.capabilities or None,
    )
    if isinstance(given, ModelOptions):
        info = replace(info, **{name: getattr(given, name) for name in PRICES})
    return info


def has_price(info: ModelInfo) -> bool:
    return info.input_price is not None or info.output_price is not None


def merged(infos: Iterable[tuple[str, ModelInfo]]) -> SourcedInfo:
    """For each field, the first source that has it wins; capabilities one by one, prices only together."""
    known: dict[str, object] = {}
    sources: dict[str, str] = {}
    capabilities: dict[str, bool] = {}
    for source, info in infos:
        for name in _ALONE:
            value = getattr(info, name)
            if value is not None and name not in known:
                known[name], sources[name] = value, source
        if has_price(info) and "prices" not in sources:
            known |= {name: getattr(info, name) for name in PRICES}
            sources["prices"] = source
        new = {word: has for word, has in (info.capabilities or {}).items() if word not in capabilities}
        if new:
            capabilities |= new
            sources["capabilities"] = ", ".join(filter(None, (sources.get("capabilities"), source)))
    if capabilities:
        known["capabilities"] = capabilities
    return SourcedInfo(info=ModelInfo(**known), sources=sources)  # type: ignore[arg-type]  # taken from infos, by name


_ALONE = tuple(name for name in ModelInfo.__struct_fields__ if name not in (*PRICES, "capabilities"))
