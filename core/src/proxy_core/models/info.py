"""What is known of models, and who says so: settings, the provider itself, then catalogs.

Catalogs are read when somebody first wants to know, in a thread, once; until then they cost nothing.
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

#: Who said it, in ``_sources`` and ``source``; a catalog is called by its name.
SETTINGS, PROVIDER = "settings", "provider"
PRICES = ("input_price", "output_price", "cached_price", "cache_write_price")
#: A provider and its own model id, to what its model list says of it, where that was read.
Listed = Callable[[str, str], Extra | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One model's card and, by field, who said so. All prices are of one source, ``prices``."""

    card: ModelInfo = field(default_factory=ModelInfo)
    sources: Mapping[str, str] = field(default_factory=dict)


class Catalogs:
    """The tables of plugins, in the order in which they are believed."""

    def __init__(
        self, catalogs: Sequence[ModelCatalog], kept: Callable[[ModelCatalog], str | None] = lambda catalog: None
    ) -> None:
        """``kept`` has the text of a table that was got from its source."""
        self._catalogs = catalogs
        self._kept = kept
        #: Set once somebody has wanted to know.
        self.wanted = asyncio.Event()
        self._tables: Sequence[tuple[str, FindModelInfo]] | None = None if catalogs else ()
        self._loading = asyncio.Lock()

    @property
    def loaded(self) -> bool:
        return self._tables is not None

    async def load(self) -> None:
        """Read them, unless that was done. Takes a moment the first time; nothing else waits for it."""
        self.wanted.set()
        if self._tables is not None:
            return
        async with self._loading:
            if self._tables is None:
                self._tables = await asyncio.to_thread(self._read)

    def find(self, provider: str, model: str) -> Iterator[tuple[str, ModelInfo]]:
        """What tables that were read say, each with its name."""
        for name, find in self._tables or ():
            card = find(provider, model)
            if card is not None:
                yield name, card

    @property
    def sourced(self) -> Sequence[ModelCatalog]:
        """Those of which there may be newer ones."""
        return [catalog for catalog in self._catalogs if catalog.source is not None]

    def replace(self, name: str, find: FindModelInfo) -> None:
        """A newer table, from now on."""
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
                log.warning("what was kept of the catalog %s cannot be read", catalog.name, exc_info=True)
        return catalog.load()


class Cards:
    """All there is to know of a provider's model. ``listed`` is what its own list said, where it was read."""

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
        """Whoever knows the model, by the provider's own id, best first."""
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
        """What the provider itself calls what settings call ``model``."""
        settings = self._settings.get(provider)
        options = settings.models.get(model) if settings else None
        return options.id if options and options.id else model

    def facts(self, provider: str, model: str, first: Described | None = None) -> Facts:
        """One card of them all. ``first``: what settings say of the public model, which wins."""
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
    """Field by field the first that knows; capabilities word by word; prices only together."""
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
    return Facts(card=ModelInfo(**known), sources=sources)  # type: ignore[arg-type]  # taken from cards, by name


_ALONE = tuple(f.name for f in fields(ModelInfo) if f.name not in (*PRICES, "capabilities"))
