"""The catalog with every function of its plugins watched. It is wrapped once, when the proxy is built."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from proxy_core.clock import Clock
from proxy_core.errors import ProxyError
from proxy_core.interfaces import (
    AdminPage,
    Candidate,
    CredentialRefresher,
    Dialect,
    EventDecoder,
    EventFilter,
    FindModelInfo,
    HttpClient,
    ListModels,
    LoginRequired,
    LogSink,
    ModelCatalog,
    Observer,
    Operation,
    PluginTime,
    Provider,
    ProviderCall,
    ProviderResponse,
    ProxyRequest,
    ResponseHead,
    RetryRefresh,
    Sanitizer,
    SetupRequired,
    Tokens,
    TransportFailed,
)
from proxy_core.interfaces.providers import Listener
from proxy_core.messages import ChatEvent, EmbedResponse, TextDelta
from proxy_core.plugins.faults import Faults, Site, described, modules_of
from proxy_core.plugins.registry import Catalog
from proxy_core.plugins.results import (
    address_problem,
    answer_problem,
    count_problem,
    decision_problem,
    decoder_problem,
    dialects_problem,
    events_problem,
    filter_problem,
    info_problem,
    listener_problem,
    page_problem,
    request_problem,
    sanitized_problem,
)
from proxy_core.plugins.watch import Watch, anything, instance_of, watched, watched_async
from proxy_core.plugins.watched_dialects import watched_dialect

#: Of a response's text, for finding what a filter still holds at its end.
_TAIL = 4_096


class PluginWatch(Struct):
    """The watches of a process, by plugin, role and name; they outlive a reload."""

    clock: Clock
    faults: Faults = field(default_factory=Faults)
    watches: dict[Site, Watch] = field(default_factory=dict)

    def watch(self, catalog: Catalog, budget_s: float | None, *, trace: bool = False) -> Catalog:
        """The same catalog, watched. The core's own functions have no budget: they are as slow as a body is large.

        With ``trace``, each call of a plugin is logged.
        """
        self.faults.modules.update(modules_of((p.name, p.module) for p in catalog.plugins))

        def watch(hook: str, role: str, name: str, *, waits: bool = False) -> Watch:
            site = Site(plugin=catalog.owner(hook, name), role=role, name=name)
            found = self.watches.setdefault(site, Watch(site, self.faults, self.clock, None))
            allowed_s = budget_s if site.plugin != "core" else None
            found.budget_s, found.step_budget_s = (None, allowed_s) if waits else (allowed_s, None)
            found.trace = trace and site.plugin != "core"
            return found

        return replace(
            catalog,
            providers={n: _provider(p, watch, catalog.dialects) for n, p in catalog.providers.items()},
            dialects={n: _dialect(d, watch) for n, d in catalog.dialects.items()},
            sanitizers=tuple(_sanitizer(s, watch) for s in catalog.sanitizers),
            redactors=tuple(
                replace(r, redact=watched(r.redact, watch("proxy_redactors", "redactor", r.name), instance_of(dict)))
                for r in catalog.redactors
            ),
            selectors={
                n: replace(s, select=watched(s.select, watch("proxy_selectors", "selector", n), _IS_CANDIDATE))
                for n, s in catalog.selectors.items()
            },
            token_counters=tuple(
                replace(c, count=watched(c.count, watch("proxy_token_counters", "counter", c.name), count_problem, ()))
                for c in catalog.token_counters
            ),
            refreshers={n: _refresher(r, watch) for n, r in catalog.refreshers.items()},
            model_catalogs=tuple(_catalog(c, watch) for c in catalog.model_catalogs),
            operations=tuple(
                _operation(o, watch("proxy_operations", "operation", o.paths[0], waits=True))
                for o in catalog.operations
            ),
            admin_pages=tuple(_page(p, watch) for p in catalog.admin_pages),
            observers=tuple(_observer(o, watch) for o in catalog.observers),
            log_sinks=tuple(_sink(s, watch) for s in catalog.log_sinks),
        )

    def read(self) -> Sequence[PluginTime]:
        """The functions that have been called."""
        return [
            PluginTime(
                plugin=site.plugin,
                role=site.role,
                name=site.name,
                calls=watch.calls,
                seconds=watch.seconds,
                slowest_s=watch.slowest_s,
                failures=watch.failures,
                breaker=watch.breaker,
            )
            for site, watch in self.watches.items()
            if watch.calls
        ]


class Watching(Protocol):
    def __call__(self, hook: str, role: str, name: str, *, waits: bool = False) -> Watch: ...


_IS_CANDIDATE = instance_of(Candidate)
_IS_REQUEST = instance_of(ProxyRequest)
_NOT_ENDED = (TimeoutError, OSError, ProxyError, TransportFailed)
_NOT_REFRESHED = (LoginRequired, SetupRequired, RetryRefresh, *_NOT_ENDED)
_UNREADABLE = (ValueError, ProxyError)


# --- Providers ---------------------------------------------------------------------------


def _provider(given: Provider, watch: Watching, known: Collection[str]) -> Provider:
    """``known``: all dialects."""

    def at(role: str, *, waits: bool = False) -> Watch:
        return watch("proxy_providers", role, given.name, waits=waits)

    sendable = address_problem if given.send is None else request_problem
    changed: dict[str, Any] = {"encode": watched(given.encode, at("encode"), sendable)}
    if given.dialects_of is not None:
        speaks = partial(dialects_problem, known=known)
        changed["dialects_of"] = watched(given.dialects_of, at("dialects_of"), speaks)
    if given.decoder is not None:
        changed["decoder"] = _decoders(given.decoder, at("decoder"))
    if given.listener is not None:
        changed["listener"] = _listeners(given.listener, at("listener"))
    if given.decode_embeddings is not None:
        decode, of = given.decode_embeddings, at("decode_embeddings")
        changed["decode_embeddings"] = watched(decode, of, instance_of(EmbedResponse))
    if given.classify_failure is not None:
        changed["classify_failure"] = watched(given.classify_failure, at("classify_failure"), decision_problem, ())
    if given.read_quota is not None:
        changed["read_quota"] = watched(given.read_quota, at("read_quota"), instance_of(list, tuple))
    if given.list_models is not None:
        changed["list_models"] = _listing(given.list_models, at("list_models"))
    if given.quota is not None:
        quota_at = at("quota", waits=True)
        changed["quota"] = watched_async(given.quota, quota_at, instance_of(list, tuple), _NOT_ENDED)
    if given.send is not None:
        changed["send"] = watched_async(given.send, at("send", waits=True), instance_of(ProviderResponse), _NOT_ENDED)
    return replace(given, **changed)


def _listing(given: ListModels, watch: Watch) -> ListModels:
    """A response that cannot be read is a ``ValueError``, and the upstream's fault."""
    more = watched(given.more, watch, anything, _UNREADABLE) if given.more is not None else None
    parse = watched(given.parse, watch, instance_of(list, tuple), _UNREADABLE)
    return replace(given, request=watched(given.request, watch, address_problem), parse=parse, more=more)


def _decoders(
    decoder: Callable[[ProviderCall, ResponseHead], EventDecoder], watch: Watch
) -> Callable[[ProviderCall, ResponseHead], EventDecoder]:
    new = watched(decoder, watch, decoder_problem)
    return lambda call, response: _WatchedDecoder(new(call, response), watch)


def _listeners(
    listener: Callable[[ProviderCall], Listener | None], watch: Watch
) -> Callable[[ProviderCall], Listener | None]:
    new = watched(listener, watch, listener_problem)

    def made(call: ProviderCall) -> Listener | None:
        listen = new(call)
        return watched(listen, watch, anything) if listen is not None else None

    return made


class _WatchedDecoder:
    __slots__ = ("_decoder", "_watch", "close", "feed")

    def __init__(self, decoder: EventDecoder, watch: Watch) -> None:
        self._decoder, self._watch = decoder, watch
        self.feed = watched(decoder.feed, watch, events_problem)
        self.close = watched(decoder.close, watch, events_problem)

    @property
    def ended(self) -> bool:
        try:
            return self._decoder.ended
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may be a property
            raise self._watch.failed(error) from error


# --- Dialects ----------------------------------------------------------------------------


def _dialect(given: Dialect, watch: Watching) -> Dialect:
    """The core's own are as they were, and no call of them is measured."""

    def of(role: str) -> Watch:
        return watch("proxy_dialects", f"{role}_of_dialect", given.name, waits=True)

    if of("decode").site.plugin == "core":
        return given
    operations = tuple(_operation(one, of("operation")) for one in given.operations)
    return replace(watched_dialect(given, of), operations=operations)


# --- Sanitizers --------------------------------------------------------------------------


def _sanitizer(given: Sanitizer, watch: Watching) -> Sanitizer:
    request, events = given.request, given.events
    if request is not None:
        request = _sanitizing(request, watch("proxy_sanitizers", "sanitizer", given.name))
    if events is not None:
        events = _filters(events, watch("proxy_sanitizers", "event_filter", given.name))
    return replace(given, request=request, events=events)


def _sanitizing(given: Callable[[ProxyRequest], ProxyRequest], watch: Watch) -> Callable[[ProxyRequest], ProxyRequest]:
    call = watched(given, watch, _IS_REQUEST)

    def sanitize(request: ProxyRequest) -> ProxyRequest:
        result = call(request)
        if result is not request and (what := sanitized_problem(request, result)):
            raise watch.returned(given, result, what)
        return result

    return sanitize


def _filters(
    events: Callable[[ProxyRequest], EventFilter | None], watch: Watch
) -> Callable[[ProxyRequest], EventFilter | None]:
    new = watched(events, watch, filter_problem)

    def filtered(request: ProxyRequest) -> EventFilter | None:
        found = new(request)
        return _WatchedFilter(found, watch) if found is not None else None

    return filtered


class _WatchedFilter:
    """A filter that is fed events in turn. At the end, none of their text may still be in it."""

    __slots__ = ("_before", "_close", "_feed", "_filter", "_given", "_replaced", "_taken", "_watch")

    def __init__(self, filter_: EventFilter, watch: Watch) -> None:
        self._filter, self._watch = filter_, watch
        self._feed = watched(filter_.feed, watch, events_problem)
        self._close = watched(filter_.close, watch, events_problem)
        self._taken = self._given = ""
        #: Whether a response without text is what it wants: the core's own keep nothing unseen.
        self._replaced = type(filter_).__module__.startswith("proxy_core.")
        self._before = set(_texts_in(filter_))

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]:
        out = self._feed(event)
        if type(event) is TextDelta:
            self._taken = (self._taken + event.text)[-_TAIL:]
        self._note(out, event)
        return out

    def close(self) -> Sequence[ChatEvent]:
        out = self._close()
        self._note(out)
        for text in _texts_in(self._filter):
            if text not in self._before and self._taken.endswith(text) and not self._given.endswith(text):
                what = f"without the text that it still holds ({len(text)} characters)"
                raise self._watch.returned(self._filter.close, out, what)
        if self._taken.strip() and not self._given and not self._replaced:  # it may be held where nothing can see it
            what = "without any text, nor anything in its place, although it was given some"
            raise self._watch.returned(self._filter.close, out, what)
        return out

    def _note(self, out: Sequence[ChatEvent], given: ChatEvent | None = None) -> None:
        for event in out:
            if type(event) is TextDelta:
                self._given = (self._given + event.text)[-_TAIL:]
            elif event is not given:  # something of its own, in place of text
                self._replaced = True


def _texts_in(filter_: object) -> list[str]:
    """The texts that an object holds in its attributes, also in lists of texts or events."""
    slots = [name for cls in type(filter_).__mro__ for name in getattr(cls, "__slots__", ())]
    values = [*getattr(filter_, "__dict__", {}).values(), *(getattr(filter_, name, None) for name in slots)]
    return [text for text in map(_text, values) if text]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "".join(map(_text, value.values()))
    if isinstance(value, list | tuple):
        return "".join(map(_text, value))
    if isinstance(value, TextDelta):
        return value.text
    return value if isinstance(value, str) else ""


# --- Off the path of a request -----------------------------------------------------------


def _refresher(given: CredentialRefresher, watch: Watching) -> CredentialRefresher:
    of = watch("proxy_credential_refreshers", "refresher", given.kind, waits=True)
    return replace(given, refresh=watched_async(given.refresh, of, instance_of(Tokens), _NOT_REFRESHED))


def _catalog(given: ModelCatalog, watch: Watching) -> ModelCatalog:
    of = watch("proxy_model_catalogs", "model_catalog", given.name, waits=True)
    load = watched(given.load, of, _unless_callable)
    return replace(
        given,
        load=lambda: watched(load(), of, info_problem, ()),
        newer=_newer(given.newer, of) if given.newer else None,
    )


def _operation(given: Operation, of: Watch) -> Operation:
    return replace(given, answer=watched_async(given.answer, of, answer_problem, (ProxyError,)))


def _page(given: AdminPage, watch: Watching) -> AdminPage:
    of = watch("proxy_admin_pages", "page", given.path, waits=True)
    return replace(given, respond=watched_async(given.respond, of, page_problem, (ProxyError,)))


def _unless_callable(result: object) -> str:
    return "" if callable(result) else f"{described(result)}, not a function"


def _newer(
    newer: Callable[[HttpClient], AsyncIterator[FindModelInfo]], of: Watch
) -> Callable[[HttpClient], AsyncIterator[FindModelInfo]]:
    async def tables(http: HttpClient) -> AsyncIterator[FindModelInfo]:
        async for find in newer(http):
            yield watched(find, of, info_problem, ())

    return tables


def _observer(given: Observer, watch: Watching) -> Observer:
    of = watch("proxy_observers", "observer", given.name, waits=True)
    return replace(given, observe=watched_async(given.observe, of, anything), close=_closing(given.close, of))


def _sink(given: LogSink, watch: Watching) -> LogSink:
    of = watch("proxy_log_sinks", "log_sink", given.name, waits=True)
    return replace(given, write=watched_async(given.write, of, anything), close=_closing(given.close, of))


def _closing(close: Callable[[], Awaitable[None]] | None, watch: Watch) -> Callable[[], Awaitable[None]] | None:
    return watched_async(close, watch, anything) if close is not None else None
