"""Model metadata and its sources: settings, the provider itself, then catalogs.

Catalogs are read once, in a thread, when they are first needed; until then they cost nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from proxy_core.interfaces import FindModelInfo, ModelCatalog, ModelInfo
from proxy_core.messages import Extra
from proxy_core.models.listing import read_listing
from proxy_core.settings.base import Described
from proxy_core.settings.schema import ModelOptions, ProviderSettings

log = logging.getLogger("proxy_core.models")

#: Names of sources, in ``_sources`` and ``source``; a catalog has its own name.
SETTINGS, PROVIDER = "settings", "provider"
PRICES = ("input_price", "output_price", "cached_price", "cache_write_price")
#: From a provider and its own model id to the entry in its model list, if that has been read.
Listed = Callable[[str, str], Extra | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One model's metadata and the source of each field. All prices are from one source, ``prices``."""

    card: ModelInfo = field(default_factory=ModelInfo)
    sources: Mapping[str, str] = field(default_factory=dict)


class Catalogs:
    """The tables of plugins, in order of precedence."""

    def __init__(
        self, catalogs: Sequence[ModelCatalog], kept: Callable[[ModelCatalog], str | None] = lambda catalog: None
    ) -> None:
        """``kept`` returns the text of a table that was downloaded from its source."""
        self._catalogs = catalogs
        self._kept = kept
        #: Set when the catalogs are first needed.
        self.wanted = asyncio.Event()
        self._tables: Sequence[tuple[str, FindModelInfo]] | None = None if catalogs else ()
        self._loading = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        return self._tables is not None

    async def load(self) -> None:
        """Read the tables, if that has not been done. This takes a moment; nothing else waits for it."""
        self.wanted.set()
        if self._tables is not None:
            return
        async with self._loading:
            if self._tables is None:
                self._tables = await asyncio.to_thread(self._read)

    def find(self, provider: str, model: str) -> Iterator[tuple[str, ModelInfo]]:
        """The metadata in the tables that have been read, with each table's name."""
        for name, find in self._tables or ():
            card = find(provider, model)
            if card is not None:
                yield name, card

    @property
    def sourced(self) -> Sequence[ModelCatalog]:
        """The catalogs that have a source of newer tables."""
        return [catalog for catalog in self._catalogs if catalog.source is not None]

    def replace(self, name: str, find: FindModelInfo) -> None:
        """Use a newer table."""
        self._tables = [(known, find if known == name else old) for known, old in self._tables or ()]

    def _read(self) -> list[tuple[str, FindModelInfo]]:
        tables = []
        for catalog in self._catalogs:
            try:
                tables.append((catalog.name, self._newest(catalog)))
            except Exception:  # a plugin's table may fail in any way
                log.warning("the catalog %s cannot be read and counts as empty", catalog.name, exc_info=True)
        return tables

    def _newest(self, catalog: ModelCatalog) -> FindModelInfo:
        text = self._kept(catalog)
        if text is not None and catalog.source is not None:
            try:
                return catalog.source.parse(text)
            except ValueError:
                log.warning("the stored copy of the catalog %s cannot be read", catalog.name, exc_info=True)
        return catalog.load()


class Cards:
    """The metadata of a provider's models. ``listed`` returns a model's entry in the provider's own list."""

    def __init__(
        self,
        settings: Mapping[str, ProviderSettings],
        catalogs: Catalogs | None = None,
        listed: Listed = lambda provider, model: None,
    ) -> None:
        self._settings = settings
        self._listed = listed
        self._by_id = {
            (provider, options.id or name): options
            for provider, given in settings.items()
            for name, options in given.models.items()
        }
        self.catalogs = catalogs or Catalogs(())

    def said(self, provider: str, model: str) -> Iterator[tuple[str, ModelInfo]]:
        """All metadata of a model, by the provider's own id, in order of precedence."""
        settings, options = self._settings.get(provider), self._by_id.get((provider, model))
        if options is not None:
            yield SETTINGS, of_settings(options)
        extra = self._listed(provider, model)
        if extra:
            yield PROVIDER, read_listing(extra)
        yield from self.catalogs.find(provider, model)
        if settings is not None and settings.preset and settings.preset != provider:
            yield from self.catalogs.find(settings.preset, model)

    def own_id(self, provider: str, model: str) -> str:
        """The provider's own id for what the settings call ``model``."""
        settings = self._settings.get(provider)
        options = settings.models.get(model) if settings else None
        return options.id if options and options.id else model

    def facts(self, provider: str, model: str, first: Described | None = None) -> Facts:
        """The merged metadata. ``first``: settings of the public model, which take precedence."""
        over = [(SETTINGS, of_settings(first))] if first is not None else []
        return merged([*over, *self.said(provider, model)])


def of_settings(given: Described) -> ModelInfo:
    card = ModelInfo(
        context_length=given.context_length,
        max_output_tokens=given.max_output_tokens,
        input_modalities=given.input_modalities,
        output_modalities=given.output_modalities,
        capabilities=given.capabilities or None,
    )
    if isinstance(given, ModelOptions):
        card = replace(card, **{name: getattr(given, name) for name in PRICES})
    return card


def has_price(card: ModelInfo) -> bool:
    return card.input_price is not None or card.output_price is not None


def merged(said: Iterable[tuple[str, ModelInfo]]) -> Facts:
    """Merge: each field from the first source that has it, each capability too; all prices from one source."""
    known: dict[str, object] = {}
    sources: dict[str, str] = {}
    capabilities: dict[str, bool] = {}
    for source, card in said:
        for name in _ALONE:
            value = getattr(card, name)
            if value is not None and name not in known:
                known[name], sources[name] = value, source
        if has_price(card) and "prices" not in sources:
            known |= {name: getattr(card, name) for name in PRICES}
            sources["prices"] = source
        new = {word: has for word, has in (card.capabilities or {}).items() if word not in capabilities}
        if new:
            capabilities |= new
            sources["capabilities"] = ", ".join(filter(None, (sources.get("capabilities"), source)))
    if capabilities:
        known["capabilities"] = capabilities
    return Facts(card=ModelInfo(**known), sources=sources)  # type: ignore[arg-type]  # values of the same fields


_ALONE = tuple(f.name for f in fields(ModelInfo) if f.name not in (*PRICES, "capabilities"))
