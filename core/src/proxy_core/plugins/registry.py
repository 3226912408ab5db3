"""Everything that plugins provide: named, ordered, frozen. Two plugins that claim one name stop startup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations, product
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.errors import PluginConflict, PluginError, SettingsError
from proxy_core.interfaces import (
    AdminPage,
    Check,
    CredentialRefresher,
    Dialect,
    HttpServer,
    LogSink,
    ModelCatalog,
    Observer,
    Operation,
    Provider,
    Redactor,
    Sanitizer,
    Selector,
    StateStore,
    TokenCounter,
)
from proxy_core.interfaces.pages import ADMIN_ROOT, OTHER_PATHS
from proxy_core.plugins.faults import described
from proxy_core.plugins.fields import wrong_field
from proxy_core.plugins.owners import without_taken
from proxy_core.plugins.plugin import Plugin
from proxy_core.settings.loading import LoadedSettings, Rotations

T = TypeVar("T", bound=Struct)
_KEYS: Mapping[str, str] = {
    "proxy_credential_refreshers": "kind",
    "proxy_state_stores": "scheme",
    "proxy_admin_pages": "path",
}


class Catalog(Struct, frozen=True, kw_only=True, dict=True):
    """All parts of this process, by hook."""

    plugins: Sequence[Plugin]
    providers: Mapping[str, Provider]
    dialects: Mapping[str, Dialect]
    operations: Sequence[Operation]
    selectors: Mapping[str, Selector]
    refreshers: Mapping[str, CredentialRefresher]
    state_stores: Mapping[str, StateStore]
    sanitizers: Sequence[Sanitizer]
    redactors: Sequence[Redactor]
    log_sinks: Sequence[LogSink]
    observers: Sequence[Observer]
    token_counters: Sequence[TokenCounter]
    model_catalogs: Sequence[ModelCatalog]
    admin_pages: Sequence[AdminPage]
    http_servers: Mapping[str, HttpServer]
    checks: Sequence[Check]
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def rotations(self) -> Rotations:
        """The rotation settings that plugins suggest for their providers."""
        return {name: provider.rotation for name, provider in self.providers.items()}

    @cached_property
    def packages(self) -> Mapping[str, str]:
        """Providers that are not there, and the package to install for each."""
        active = [plugin.info for plugin in self.plugins if plugin.state == "active" and plugin.info is not None]
        return {n: p for info in active for n, p in info.packages.items() if n not in self.providers}

    def owner(self, hook: str, name: str) -> str:
        """The plugin that provides ``name`` through ``hook``."""
        return self.owners[hook, name]


def build_catalog(plugins: Sequence[Plugin], *, sanitizer_order: Sequence[str] = ()) -> Catalog:
    """Name, order and freeze everything. Raises ``PluginError`` if a name or path is claimed twice."""
    owners: dict[tuple[str, str], str] = {}

    def named(hook: str, cls: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for plugin, item in _provided(plugins, hook):
            _check_type(plugin, hook, item, cls)
            name: str = getattr(item, _KEYS.get(hook, "name"))
            if name in found:
                raise _claimed_twice(plugin.name, owners[hook, name], f"{cls.__name__} {name!r}")
            owners[hook, name] = plugin.name
            found[name] = item
        return found

    dialects = named("proxy_dialects", Dialect)
    operations = [(plugin.name, _operation(plugin, item)) for plugin, item in _provided(plugins, "proxy_operations")]
    _check_paths(dialects, operations, owners)
    owners |= {("proxy_operations", path): plugin for plugin, operation in operations for path in operation.paths}
    sanitizers = named("proxy_sanitizers", Sanitizer)
    pages = named("proxy_admin_pages", AdminPage)
    check_page_paths({path: owners["proxy_admin_pages", path] for path in pages})
    return Catalog(
        plugins=tuple(plugins),
        providers=MappingProxyType(
            dict(sorted(_checked(named("proxy_providers", Provider), dialects, owners).items()))
        ),
        dialects=MappingProxyType(dialects),
        operations=tuple(operation for _, operation in operations),
        selectors=MappingProxyType(named("proxy_selectors", Selector)),
        refreshers=MappingProxyType(named("proxy_credential_refreshers", CredentialRefresher)),
        state_stores=MappingProxyType(named("proxy_state_stores", StateStore)),
        sanitizers=_listed_first(sanitizers, sanitizer_order, lambda s: s.rank),
        redactors=_listed_first(named("proxy_redactors", Redactor), (), lambda r: r.rank),
        log_sinks=tuple(named("proxy_log_sinks", LogSink).values()),
        observers=tuple(named("proxy_observers", Observer).values()),
        token_counters=_listed_first(named("proxy_token_counters", TokenCounter), (), lambda c: c.rank),
        model_catalogs=_listed_first(named("proxy_model_catalogs", ModelCatalog), (), lambda c: c.rank),
        admin_pages=tuple(pages.values()),
        http_servers=MappingProxyType(named("proxy_http_servers", HttpServer)),
        checks=tuple(v for _, v in sorted(named("proxy_checks", Check).items())),
        owners=MappingProxyType(owners),
    )


def _claimed_twice(plugin: str, other: str, what: str) -> PluginError:
    if other == "core":
        return PluginError(plugin, f"{what} is already provided by the core itself")
    return PluginConflict(plugin, other, what) if plugin != other else PluginError(plugin, f"{what} is provided twice")


def settled(plugins: Sequence[Plugin], loaded: LoadedSettings, *, conflicts_too: bool = False) -> Catalog:
    """The catalog without those plugins that return something wrong: they are skipped, each with the reason.

    ``conflicts_too``: also of two that claim one name, and with any order of sanitizers, only to look at them.
    Raises ``PluginConflict``, ``SettingsError``.
    """
    order: Sequence[str] = loaded.settings.sanitizers.order
    while True:
        try:
            return build_catalog(plugins, sanitizer_order=order)
        except SettingsError:
            if not conflicts_too or not order:
                raise
            order = ()
        except PluginError as error:
            if isinstance(error, PluginConflict) and not conflicts_too:
                raise
            plugins = without_taken(without(plugins, error), loaded)


def without(plugins: Sequence[Plugin], error: PluginError) -> Sequence[Plugin]:
    """The plugins, of which that with the error is skipped. Raises the error if it is the core's."""
    rest = [p for p in plugins if p.name != error.plugin or p.state != "active"]
    if len(rest) == len(plugins) or error.plugin == "core":
        raise error
    skipped = {p.name: replace(p, state="skipped", reason=error.reason, provided={}) for p in plugins if p not in rest}
    return [skipped.get(p.name, p) for p in plugins]


def _provided(plugins: Sequence[Plugin], hook: str) -> Iterator[tuple[Plugin, Any]]:
    for plugin in plugins:
        if plugin.state == "active":
            for item in plugin.provided.get(hook, ()):
                yield plugin, item


def _check_type(plugin: Plugin, hook: str, item: object, cls: type[Struct]) -> None:
    if not isinstance(item, cls):
        raise PluginError(plugin.name, f"{hook} returned {described(item)}, not {cls.__name__}")
    if plugin.module and (problem := wrong_field(item)):
        raise PluginError(plugin.name, f"{hook} returned {problem}")


def _operation(plugin: Plugin, item: Operation) -> Operation:
    _check_type(plugin, "proxy_operations", item, Operation)
    if item.shared:
        raise PluginError(plugin.name, f"path {item.paths[0]} is shared, but belongs to no dialect")
    return item


def _check_paths(
    dialects: Mapping[str, Dialect], operations: Sequence[tuple[str, Operation]], owners: Mapping[tuple[str, str], str]
) -> None:
    """A method and path belongs to one dialect or plugin, unless every dialect that claims it shares it."""
    claims = [
        (owner, place)
        for dialect in dialects.values()
        for owner in [owners["proxy_dialects", dialect.name]]
        for place in _places(dialect, owner)
    ]
    claims += [(plugin, place) for plugin, o in operations for place in product(o.methods, o.paths)]
    claimed: dict[tuple[str, str], str] = {}
    for plugin, (method, path) in claims:
        if (method, path) in claimed:
            raise _claimed_twice(plugin, claimed[method, path], f"the path {path} ({method})")
        claimed[method, path] = plugin


def _places(dialect: Dialect, owner: str) -> Iterator[tuple[str, str]]:
    yield from (("POST", path) for path in dialect.paths)
    for operation in dialect.operations:
        if operation.shared and dialect.recognizes is None:
            raise PluginError(owner, f"path {operation.paths[0]} is shared, but the dialect recognizes nothing")
        if not operation.shared:
            yield from ((method, path) for method in operation.methods for path in operation.paths)


def _checked(
    providers: dict[str, Provider], dialects: Mapping[str, Dialect], owners: Mapping[tuple[str, str], str]
) -> dict[str, Provider]:
    for name, provider in providers.items():
        owner = owners["proxy_providers", name]
        if "/" in name or not name:
            raise PluginError(owner, f"provider name {name!r} may not be empty or contain '/'")
        if provider.prefix is not None and (not all(provider.prefix.split("/")) or provider.prefix.count("/") > 1):
            raise PluginError(owner, f"provider {name!r}: prefix {provider.prefix!r} is not 'word' or 'word/word'")
        unknown = [d for d in provider.dialects if d not in dialects]
        if unknown:
            raise PluginError(owner, f"provider {name!r} speaks unknown dialect {unknown[0]!r}")
        if not provider.dialects and provider.decoder is None:
            raise PluginError(owner, f"provider {name!r} speaks no dialect and has no decoder of its own")
    return providers


#: What follows the root of pages.
_PAGE = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._~-]*)+(/\*)?")


def check_page_paths(owners: Mapping[str, str]) -> None:
    """``owners``: a page's path to the plugin that adds it. Raises ``PluginError``."""
    for path, owner in owners.items():
        if path not in OTHER_PATHS and not (path.startswith(ADMIN_ROOT) and _PAGE.fullmatch(path)):
            places = " or ".join((f"below {ADMIN_ROOT}", *OTHER_PATHS))
            raise PluginError(owner, f"page {path!r}: a page's path must be {places}, in letters, digits and '-._~'")
    for (one, first), (other, second) in combinations(owners.items(), 2):
        if first != second and overlap(one, other):
            raise _claimed_twice(
                second, first, f"page {other!r} overlaps with page {one!r} of plugin {first!r}: the address"
            )


def overlap(one: str, other: str) -> bool:
    """Whether any address belongs to both."""
    return one == other or _covers(one, other) or _covers(other, one)


def _covers(path: str, other: str) -> bool:
    return path.endswith("/*") and other.startswith(path[:-1])


def _listed_first(items: Mapping[str, T], order: Sequence[str], rank: Callable[[T], int]) -> tuple[T, ...]:
    """Those that settings list come first, in that order; the rest follow by rank, then name."""
    missing = [name for name in order if name not in items]
    if missing:
        raise SettingsError([f"sanitizers.order: no sanitizer is named {name!r}" for name in missing])
    rest = sorted((n for n in items if n not in order), key=lambda n: (rank(items[n]), n))
    return tuple(items[name] for name in (*order, *rest))
