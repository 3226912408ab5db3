"""What crosses the boundary between the core and a plugin: frozen, named values.

A plugin's hooks return these; the core keeps them and calls the functions they hold.
The core does all I/O with providers: encoders, decoders and judges are pure.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pydantic import SecretStr

from proxy_core.errors import ProxyError
from proxy_core.model import (
    ChatEvent,
    ChatRequest,
    EmbedReply,
    EmbedRequest,
    Extra,
    JsonObject,
    UpstreamFailure,
    UpstreamRequest,
    Usage,
)
from proxy_core.rotation import DEFAULT_PRIORITY, RotationSettings
from proxy_core.settings import PluginSettings, ProviderSettings
from proxy_core.stash import Stash

#: The hook API this core speaks. It rises when a hook or a required field goes away.
API = 1

S = TypeVar("S", bound=PluginSettings)


# --- Plugins -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """A plugin module's ``PLUGIN``: who it is and which hook API it was written for.

    ``name`` is the entry point's name and the settings table ``[plugins.<name>]``.
    ``providers`` names the providers it brings, so that a plugin which serves any provider
    from settings leaves those alone.
    """

    name: str
    api: int
    settings: type[PluginSettings] | None = None
    providers: Sequence[str] = ()


class PluginContext(Protocol):
    """What a hook is given: this plugin's own settings, logger and folder."""

    @property
    def plugin(self) -> str: ...
    @property
    def log(self) -> logging.Logger: ...
    @property
    def data_dir(self) -> Path:
        """This plugin's folder, made on first use, mode 0700."""
        ...

    @property
    def reserved_providers(self) -> frozenset[str]:
        """Names that other active plugins bring themselves."""
        ...

    def settings(self, cls: type[S]) -> S:
        """The table ``[plugins.<name>]``, validated. Raises ``SettingsError``."""
        ...

    def provider_names(self) -> Sequence[str]:
        """Providers named in ``[providers]`` or by ``<NAME>_API_BASE``, sorted."""
        ...

    def provider(self, name: str) -> ProviderSettings:
        """File and environment for one provider, merged; empty where nothing is set."""
        ...


# --- Requests ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRequest:
    """One client request on its way through. ``body`` is the client's JSON and is never changed in place.

    ``session`` is what a header of the client named as its conversation; ``traceparent`` its
    header of that name, if it is one by W3C's Trace Context.
    """

    id: str
    client: str
    dialect: str
    model: str
    stream: bool
    body: JsonObject = field(repr=False)
    session: str | None = None
    traceparent: str | None = None
    stash: Stash = field(default_factory=Stash, repr=False)

    def with_body(self, body: JsonObject) -> ProxyRequest:
        """The same request with another body, for sanitizers."""
        return replace(self, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model a provider offers, by the provider's own id."""

    id: str
    created: int | None = None
    owned_by: str | None = None
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One identity a provider accepts. ``id`` is a fingerprint, ``label`` says where it came from.

    ``secret`` is what a request carries: a key, or an access token, which ``expires_at`` (UTC) and
    can be renewed with ``refresh_token``. ``identity`` is the account's own name (an address, a
    subject); two credentials with one are duplicates. ``details`` are a plugin's own words about
    it (a project, a base URL, a token's client); what is secret among them is ``SecretStr``.
    ``tier`` is the plan behind it. Lower ``priority`` goes first.
    """

    id: str
    provider: str
    kind: str
    secret: SecretStr
    label: str
    tier: str | None = None
    priority: int = DEFAULT_PRIORITY
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """One attempt, as a provider's ``encode`` sees it.

    ``dialect`` is the wire format of ``body``; ``body`` is the provider's own copy (top level),
    with ``model`` and ``stream`` already those of the attempt. A provider without dialects gets
    ``dialect=None``, an empty body and reads ``chat``. ``client`` is who asks, for what a provider
    must keep apart. ``options`` are the deployment's: a ``body`` has them already, a ``chat`` has not.
    """

    dialect: str | None
    body: JsonObject = field(repr=False)
    chat: ChatRequest | None = field(default=None, repr=False)
    stream: bool = False
    client: str = ""
    options: Extra = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Whether a provider can be counted on, and what using it risks.

    ``until`` is the day an ``ended`` provider stopped or a ``limited`` one will.
    """

    status: Literal["active", "limited", "ended"] = "active"
    until: date | None = None
    note: str = ""
    link: str = ""


# --- Verdicts ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a failure means.

    ``fault`` says who must act. ``next``: ``retry`` with the same credential, ``rotate`` to the
    next, ``fail_over`` to the next deployment, ``reject`` to the client. ``rest`` is what cools
    down: the whole credential, this credential for the model (or its quota group), or the whole
    provider; for ``rest_s`` seconds (``None``: ``back_off_s``, seconds by failures in a row, of
    which the last stays; without these the core's own). ``error`` is what the
    client is told if the request ends here. ``renew``: with ``rest="credential"``, a login's token
    was refused and is renewed instead; of a 401 that is believed anyway. ``until_login``: no time
    mends it; the credential is out until its owner has acted and somebody logs in anew, and
    ``error`` says why. ``doubts``: with ``rest="credential"``, the names of its details that may be
    wrong (a project); its refresher is asked once without them, and within some hours not again.
    """

    fault: Literal["client", "credential", "model", "provider", "network"]
    next: Literal["retry", "rotate", "fail_over", "reject"]
    error: ProxyError
    rest: Literal["credential", "model", "provider"] | None = None
    rest_s: float | None = None
    back_off_s: Sequence[float] = ()
    renew: bool = False
    until_login: bool = False
    doubts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaWindow:
    """What a provider says of an interval it counts over.

    ``limit`` and ``used`` are in ``unit``; ``None`` is unknown. ``resets_at`` is UTC.
    ``group`` names a quota group or a model; empty: the one that was asked for.
    """

    unit: Literal["requests", "tokens"] = "requests"
    limit: float | None = None
    used: float | None = None
    resets_at: datetime | None = None
    group: str = ""


# --- Providers ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKey:
    """An API key of another program. ``name`` is what to call it, ``tier`` as in ``[providers.<name>] api_keys``."""

    key: SecretStr
    name: str
    tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """Another program's settings, of which its API keys can be copied.

    ``read(data, variables)`` raises ``ValueError`` for what is no such file and for one without a
    key, saying what it looked for; at least one key otherwise. ``variables`` are upper-case names:
    the environment's, and below it those of ``dotenvs``, ``.env`` files that the program reads, the
    most decisive first; a relative one is looked for in the working folder and those above.
    ``paths`` are where it usually is.
    """

    name: str
    read: Callable[[bytes, Mapping[str, str]], Sequence[FoundKey]]
    paths: Sequence[str] = ()
    dotenvs: Sequence[str] = ()


class EventDecoder(Protocol):
    """Reply bytes to events. Any split of the bytes gives the same events."""

    def feed(self, data: bytes) -> Sequence[ChatEvent]: ...
    def close(self) -> Sequence[ChatEvent]:
        """The bytes ended. Raises ``StreamCut`` if the reply was not complete."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModels:
    """How to ask a provider for its models: a request, and how to read the answer. Both pure."""

    request: Callable[[Credential], UpstreamRequest]
    parse: Callable[[bytes], Sequence[ModelSpec]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What a provider takes of documents that clients link to.

    ``max_bytes`` and ``timeout_s`` are for each document, redirects included; ``types`` are
    prefixes of media types.
    """

    max_bytes: int = 20 * 1024 * 1024
    timeout_s: float = 20.0
    types: Sequence[str] = ("image/", "audio/", "video/", "application/pdf", "text/plain")


Encode = Callable[[ProviderCall, Credential], UpstreamRequest]


class Pieces(Protocol):
    """A body while it comes. ``aclose`` ends the exchange; iterating raises ``OSError`` where it breaks off."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SentReply:
    """What a provider's ``send`` got: a whole body, or one still to come. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Pieces = b""


#: An encoded request to its answer, for who talks to its upstream itself. May raise ``TimeoutError``
#: and ``TransportFailed``; cancelling it ends the exchange.
Send = Callable[[UpstreamRequest, Credential], Awaitable[SentReply]]
Judge = Callable[[UpstreamFailure], Verdict]
#: Reply headers (lower-case names) and the time they came, to what they say about quota. Pure.
ReadQuota = Callable[[Mapping[str, str], datetime], Sequence[QuotaWindow]]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HttpExchange(Protocol):
    """The core's guarded door to the network, for refreshers, logins and quotas: one request, its answer.

    Raises ``TransportFailed`` if there was none within ``timeout_s``.
    """

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpAnswer: ...


#: Asks what a login has left. What it raises is logged and asked again later.
AskQuota = Callable[[Credential, HttpExchange], Awaitable[Sequence[QuotaWindow]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How to talk to one upstream. The core does the I/O; ``None`` means "cannot" or "as usual".

    ``dialects`` are the wire formats it speaks, best first. A client of one of them is relayed;
    any other chat client is translated into the first that can carry it. A provider with no chat
    dialect of its own is given the neutral ``ProviderCall.chat`` and brings a ``decoder``; with
    ``reads_chat`` it is given that, and no body, wherever it does not relay. One with a dialect may
    bring a decoder whose replies need mending: then none of its chat replies is relayed.
    ``decoder(streaming)`` is fresh per attempt; ``decoder_for(call, streaming)`` instead is one that
    has to know what was asked. ``decode_embeddings`` reads a whole reply of a
    provider whose embeddings are not in OpenAI's shape. ``judge=None`` is the core's judge.
    ``takes_keys``: API keys do as well as credentials of its ``credential_kind``; ``key_files`` are
    other programs' settings to import them from.
    ``anonymous`` providers (a local server) work without a credential.
    ``costs_nothing``: a subscription pays for what its logins are used for; with an API key it may cost.
    ``read_quota=None`` is the core's reading of rate-limit headers. ``rotation`` is how its
    credentials are spent unless settings say otherwise; ``worst_priority(model)`` the highest
    priority number that may serve a model, where its plans differ. ``quota`` is asked for each login
    every ``quota_every_s``, off the path of requests.
    ``models`` is what it is known to offer before it was asked; ``closed`` means nothing else.
    ``fetch_links``: it cannot open links itself, so the core fetches what ``chat`` links to,
    guarded, and hands it over as ``InlineData``.
    ``send``: what ``encode`` makes is not for the core's sockets but for this, a library that has its
    own; deadline, cancelling, retries and rests stay the core's. ``prefix`` is what comes before
    its models' names where that is not ``name``; it may have one ``/``.
    """

    name: str
    encode: Encode
    send: Send | None = None
    prefix: str | None = None
    dialects: Sequence[str] = ()
    reads_chat: bool = False
    decoder: Callable[[bool], EventDecoder] | None = None
    decoder_for: Callable[[ProviderCall, bool], EventDecoder] | None = None
    decode_embeddings: Callable[[bytes], EmbedReply] | None = None
    judge: Judge | None = None
    read_quota: ReadQuota | None = None
    quota: AskQuota | None = None
    quota_every_s: float = 300.0
    rotation: RotationSettings = field(default_factory=RotationSettings)
    worst_priority: Callable[[str], int | None] | None = None
    list_models: ListModels | None = None
    models: Sequence[ModelSpec] = ()
    closed: bool = False
    credential_kind: str = "api_key"
    takes_keys: bool = False
    key_files: Sequence[KeyFile] = ()
    anonymous: bool = False
    costs_nothing: bool = False
    fetch_links: FetchLimits | None = None
    lifecycle: Lifecycle = field(default_factory=Lifecycle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One provider and upstream model that can serve a public model.

    ``options`` fill request fields the client left out.
    """

    provider: Provider
    model: str
    options: Extra = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


# --- What is known of models -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTokens:
    """What to count, for a provider's model: a ``text``, or ``messages`` and ``tools`` in OpenAI's chat shape."""

    provider: str
    model: str
    text: str | None = None
    messages: Sequence[JsonObject] = field(default=(), repr=False)
    tools: Sequence[JsonObject] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """``tokens`` by ``tokenizer``; ``exact`` if the provider would count as many.

    ``tokens`` is ``None`` where the tokenizer is known and not here; ``note`` says why, for the client.
    """

    tokens: int | None
    tokenizer: str
    exact: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounter:
    """Counts tokens as some providers do. Lower ``rank`` first, then by name; the first that answers counts.

    ``count`` may be slow: it runs in a thread, several at once. It does not touch the network.
    ``None``: not a model of its. What it raises is logged once per cause, and the next one is asked.
    """

    name: str
    count: Callable[[CountTokens], TokenCount | None]
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What somebody says of a model; ``None``: does not say. Prices are US dollars per million tokens.

    ``context_length`` and ``max_output_tokens`` are tokens. ``capabilities`` are words such as
    ``function_calling``, ``vision``, ``reasoning``, with whether it has them. ``cached_price`` is of
    prompt tokens read from a cache, ``cache_write_price`` of those written to one.
    """

    context_length: int | None = None
    max_output_tokens: int | None = None
    input_modalities: Sequence[str] | None = None
    output_modalities: Sequence[str] | None = None
    capabilities: Mapping[str, bool] | None = None
    input_price: float | None = None
    output_price: float | None = None
    cached_price: float | None = None
    cache_write_price: float | None = None


#: A provider's name and its own model id, to what is known. Fast and pure.
FindCard = Callable[[str, str], ModelCard | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSource:
    """Where a newer table is: asked for every ``every_s``, with the validators of the last answer. ``parse`` may
    block and raises ``ValueError``; an answer that it cannot read changes nothing."""

    url: str
    every_s: float
    parse: Callable[[str], FindCard]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCatalog:
    """A table of models. Lower ``rank`` is believed first, then by name.

    ``load`` may block: it runs once, in a thread, when somebody first wants to know. What it raises
    is logged, and the table counts as empty. With a ``source`` the core gets newer ones, and keeps them on disk.
    """

    name: str
    load: Callable[[], FindCard]
    rank: int = 0
    source: CatalogSource | None = None


# --- Dialects ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyContext:
    """What an encoder of replies needs to know about the request it answers. ``extra`` is its dialect's own."""

    id: str
    model: str
    stream: bool
    include_usage: bool
    created: int
    max_event_bytes: int = 16 * 1024 * 1024
    expected_choices: int = 1
    extra: Extra = field(default_factory=dict)


class EventEncoder(Protocol):
    """Events to reply bytes: as they come when streaming, all at ``close`` when not."""

    def feed(self, events: Sequence[ChatEvent]) -> bytes: ...
    def close(self) -> bytes: ...


class StreamMeter(Protocol):
    """Looks at a relayed stream without changing it, but for a usage event nobody asked for.

    ``feed`` gets whole events and returns what goes on. ``failure`` is an error the upstream
    put into the stream: the bytes before it were returned, it and what follows were not.
    """

    @property
    def usage(self) -> Usage | None: ...
    @property
    def complete(self) -> bool:
        """The reply said that it is whole."""
        ...

    @property
    def failure(self) -> UpstreamFailure | None: ...
    def feed(self, block: bytes) -> bytes: ...
    def close(self) -> bytes:
        """What the client's dialect still wants at a complete end (an end marker)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedError:
    """An error in a dialect's words. Bodies are JSON."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How several requests of a format become one, and its reply several. Pure.

    Requests with the same ``key`` can be merged; ``None``: this one cannot be. ``size`` is its
    number of inputs. ``split`` gives each of the merged bodies its own reply; the usages in them
    add up to that of the whole. Raises ``UpstreamBroken`` if the reply has not what was asked for.
    """

    key: Callable[[JsonObject], str | None]
    size: Callable[[JsonObject], int]
    merge: Callable[[Sequence[JsonObject]], JsonObject]
    split: Callable[[bytes, Sequence[JsonObject]], Sequence[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A wire format, both directions, pure.

    ``check`` raises ``BadRequest`` naming the field. ``decode``/``encode`` translate requests,
    ``decoder``/``encoder`` replies; a format that is only relayed leaves them ``None``. Of the family
    ``embeddings`` these are ``decode_inputs``/``encode_inputs`` and, of whole replies,
    ``decode_embeddings``/``encode_embeddings(reply, request body)``.
    ``meter(provider, context, strip_usage)`` watches a relayed stream; ``whole_usage`` reads
    usage out of a whole reply; ``whole_failure`` an error hiding behind status 200.
    ``condense`` makes a finished stream one of fewer events that amounts to the same reply.
    ``paths`` may have parameters, as Starlette writes them (``/models/{model:path}:{method}``);
    ``read_path(parameters, query)`` gives what they say of the request as members of its body,
    ``model`` and ``stream`` at least, over what the body says. ``usage_key`` is the member of a
    whole reply that has its usage.
    """

    name: str
    family: Literal["chat", "embeddings"]
    paths: Sequence[str]
    check: Callable[[JsonObject], None]
    encode_error: Callable[[ProxyError, str], EncodedError]
    stream_error: Callable[[ProxyError, str], bytes]
    whole_usage: Callable[[JsonObject], Usage | None]
    whole_failure: Callable[[str, JsonObject], UpstreamFailure | None]
    context: Callable[[ProxyRequest], ReplyContext]
    relay_body: Callable[[JsonObject], JsonObject] | None = None
    finish_whole: Callable[[bytes, JsonObject], bytes] | None = None
    decode_inputs: Callable[[JsonObject], EmbedRequest] | None = None
    encode_inputs: Callable[[EmbedRequest], JsonObject] | None = None
    decode_embeddings: Callable[[bytes], EmbedReply] | None = None
    encode_embeddings: Callable[[EmbedReply, JsonObject], bytes] | None = None
    decode: Callable[[JsonObject], ChatRequest] | None = None
    encode: Callable[[ChatRequest], JsonObject] | None = None
    decoder: Callable[[bool], EventDecoder] | None = None
    encoder: Callable[[ReplyContext], EventEncoder] | None = None
    meter: Callable[[str, ReplyContext, bool], StreamMeter] | None = None
    batching: Batching | None = None
    heartbeat: bytes = b""
    read_path: Callable[[Mapping[str, str], Mapping[str, str]], JsonObject] | None = None
    usage_key: str = "usage"
    condense: Callable[[bytes], bytes] | None = None


# --- Sanitizers, redactors, observers, sinks ---------------------------------------------


class EventFilter(Protocol):
    """Changes one reply's events. ``close`` gives back text still held."""

    def feed(self, event: ChatEvent) -> Sequence[ChatEvent]: ...
    def close(self) -> Sequence[ChatEvent]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitizer:
    """Changes traffic before it leaves. Lower ``rank`` first, then by name; replies in reverse.

    ``request`` returns the request to go on with, or raises a ``ProxyError`` to refuse it.
    ``events`` returns a filter for this request's reply, or ``None`` to let its bytes pass.
    Anything else raised refuses the request or ends the reply: a sanitizer never fails open.
    """

    name: str
    rank: int = 0
    request: Callable[[ProxyRequest], ProxyRequest] | None = None
    events: Callable[[ProxyRequest], EventFilter | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One try. ``credential`` is a fingerprint; ``at_s`` is when it began, seconds into the request.

    ``duration_s`` ends with the upstream's first event, or with the failure. ``shared``: made for
    several requests, and counted with another.
    """

    deployment: str
    credential: str
    status: int | None
    fault: str | None
    message: str | None
    duration_s: float
    at_s: float = 0.0
    shared: bool = False


def decisive(attempts: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The one that answered, else the last; of two at once the loser is noted last."""
    answered = (a for a in reversed(attempts) if a.status == 200 and a.fault is None)
    return next(answered, attempts[-1] if attempts else None)


Reason = Literal[
    "busy", "resting", "being tried", "own cap", "fair cycle", "priority", "tried", "being renewed", "needs login"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Why a credential could not be chosen. ``left_s``: seconds until that may change, where known."""

    credential: str
    reason: Reason
    left_s: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One look for a credential. ``chosen`` is a fingerprint, ``None`` if nobody could serve;
    ``outage_s`` how long the provider as a whole still rests; ``at_s`` seconds into the request.

    ``excluded`` names the first few of those that could not be chosen, ``unnamed`` counts the rest.
    """

    deployment: str
    candidates: int
    excluded: Sequence[Exclusion] = ()
    unnamed: int = 0
    chosen: str | None = None
    probe: bool = False
    outage_s: float | None = None
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What happened to one request: ids, times and counts; no body, no header, no key.

    ``changed_by`` names the sanitizers that changed the request or saw its reply.
    ``overhead_s`` is what the proxy itself took until the reply's first byte, waiting excluded;
    ``None`` without a reply. ``traceparent`` as in :class:`ProxyRequest`.
    """

    id: str
    client: str
    dialect: str
    model: str
    stream: bool
    status: int
    outcome: Literal["completed", "failed", "cut", "client_left"]
    error: str | None
    started_at: datetime
    first_event_s: float | None
    duration_s: float
    attempts: Sequence[AttemptRecord]
    usage: Usage | None
    decisions: Sequence[Decision] = ()
    changed_by: Sequence[str] = ()
    overhead_s: float | None = None
    traceparent: str | None = None

    @property
    def decisive(self) -> AttemptRecord | None:
        """The attempt that answered, else the last one; ``None`` if nobody was asked."""
        return decisive(self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """Is told after the fact, from a bounded queue. What it raises is logged once and counted.

    ``close`` is awaited once, at the end, for a few seconds at most.
    """

    name: str
    observe: Callable[[RequestRecord], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redactor:
    """Cleans a record before it is kept: a pure function from JSON to JSON. Fails closed."""

    name: str
    redact: Callable[[JsonObject], JsonObject]
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSink:
    """Keeps records, a batch at a time. A slow one loses records, never time of a client.

    A record is one line of JSON, redacted, without its line end; what it holds is in
    ``docs/security.md``. ``close`` is awaited once, at the end.
    """

    name: str
    write: Callable[[Sequence[bytes]], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None


# --- Selection, credentials, state -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A usable credential, as a selector sees it.

    ``used`` counts requests for the model (or its quota group) in the current quota window;
    ``last_used`` is monotonic seconds.
    """

    credential: Credential
    in_flight: int
    used: int
    last_used: float


class Candidates(Protocol):
    """The usable credentials of the best priority, in the order of settings; never empty.

    Where settings name an optimal concurrency, only the least busy of them. Iterating makes a
    :class:`Candidate` of each; the other members cost the same however many there are.
    """

    def __iter__(self) -> Iterator[Candidate]: ...
    @property
    def first(self) -> Candidate: ...
    @property
    def last(self) -> Candidate | None:
        """The one chosen before for this model or quota group, if it is among them."""
        ...

    @property
    def of_session(self) -> Candidate | None:
        """The one this conversation had before, if it is among them. Asking makes the pool remember the choice."""
        ...

    def least_used(self) -> Candidate:
        """One that is at most ``rotation.tolerance`` requests ahead of the least used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Picks among usable credentials: a pure function. Settings choose one by ``name``.

    ``optimal_concurrent`` and ``fair_cycle`` are what ``[providers.<name>.rotation]`` means by
    leaving them unset.
    """

    name: str
    select: Callable[[Candidates, ProxyRequest], Candidate]
    optimal_concurrent: int | None = None
    fair_cycle: bool = False


class TransportFailed(Exception):
    """No answer came. ``sent``: the request may have reached the other side."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class LoginNeeded(Exception):
    """The credential is no longer accepted and renewing it cannot help; the message says how to log in again."""


class RefreshLater(Exception):
    """The token server cannot now: again after ``retry_after_s``, else the core's own back-off.

    ``back_off_s`` replaces that: seconds after the first failure in a row, the second and so on; the last stays.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, back_off_s: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.back_off_s = back_off_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a token server gave. ``refresh_token=None`` keeps the old one; ``details`` are added to the old."""

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    expires_at: datetime | None = None
    identity: str | None = None
    tier: str | None = None
    details: Mapping[str, str | SecretStr] = field(default_factory=dict)


#: With a browser on this machine; by pasting what a browser elsewhere shows; by typing a code in elsewhere.
LoginWay = Literal["browser", "paste", "device"]


class LoginPrompt(Protocol):
    """Talking to whoever logs in, on a plain terminal."""

    @property
    def way(self) -> LoginWay | None:
        """The one that was asked for, among ``CredentialRefresher.ways``; ``None``: whichever is best here."""
        ...

    @property
    def headless(self) -> bool:
        """There is no browser here that could reach this machine."""
        ...

    def say(self, text: str) -> None: ...
    async def ask(self, question: str, *, secret: bool = False) -> str: ...
    def show_link(self, url: str, *, code: str | None = None, qr: bool = False) -> None:
        """Print the address, open it where there is a browser; ``code`` is to be typed in there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """How another program keeps its login: for import and for sharing one file with it.

    ``read`` raises ``ValueError`` for what is not such a file; ``write`` gives the file's new
    bytes from its old ones and keeps what it does not know. ``paths`` are where it usually is.
    ``lock`` is the path of the lock that program takes, from the file's path. ``owner`` finds out
    whose login it is, from files beside it, where the file itself does not say.
    """

    name: str
    read: Callable[[bytes], Tokens]
    write: Callable[[bytes, Credential], bytes] | None = None
    paths: Sequence[str] = ()
    lock: Callable[[Path], Path] | None = None
    owner: Callable[[Path], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStore:
    """Where another program keeps its login if not in a file: a system's keychain. Its tokens can only be copied.

    ``read`` may block, while the system asks whether it is allowed; it raises ``ValueError`` saying what
    is missing, a library say.
    """

    name: str
    read: Callable[[], Tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRefresher:
    """Renews the credentials of one ``kind`` and knows how to get new ones. The core does everything else:
    when, one at a time across processes and machines, journal, files, back-off.

    ``refresh`` raises ``LoginNeeded`` or ``RefreshLater``; whatever else it raises counts as the latter.
    ``early_s``: how long before its end a token is renewed. ``login`` talks to a person.
    ``unready`` says what a credential still lacks before it can be lent and ``refresh`` may find out
    (a project); ``None``: nothing. ``environment``: the stateless form, ``<PREFIX>_<n>_ACCESS_TOKEN``
    and so on. ``stores`` are asked where none of the ``files`` is there.
    ``notice`` is shown before a login: what the vendor's terms say and what is at risk.
    ``ways`` are those in which ``login`` can go, if a person may choose; it reads ``LoginPrompt.way``.
    """

    kind: str
    refresh: Callable[[Credential, HttpExchange], Awaitable[Tokens]]
    login: Callable[[LoginPrompt, HttpExchange], Awaitable[Tokens]] | None = None
    test: Callable[[Credential, HttpExchange], Awaitable[str]] | None = None
    files: Sequence[TokenFile] = ()
    stores: Sequence[TokenStore] = ()
    unready: Callable[[Credential], str | None] | None = None
    environment: str | None = None
    early_s: float = 300.0
    notice: str = ""
    ways: Sequence[LoginWay] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What was used on one UTC day, by one client through one credential for one model.

    ``credential`` is a fingerprint, empty for requests nobody could be asked for. ``prompt``
    includes ``cached`` and ``cache_write``; ``completion`` includes ``reasoning``. ``cost`` is in
    US dollars, of the requests whose price is known; ``priced`` counts those.
    """

    day: date
    client: str
    provider: str
    credential: str
    model: str
    requests: int = 0
    attempts: int = 0
    failures: int = 0
    prompt: int = 0
    cached: int = 0
    cache_write: int = 0
    completion: int = 0
    reasoning: int = 0
    cost: float = 0.0
    priced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A value under a name: the last one to reach the store counts. ``expires_at`` is epoch seconds.

    ``None`` takes it away; that is told to others for as long as they may remember the note.
    """

    value: bytes | None
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """``add`` is added to what all processes counted under a name; forgotten at ``expires_at``, epoch seconds.

    Where processes differ about ``expires_at``, the latest holds. An add that comes later than
    its own ``expires_at`` is dropped.
    """

    add: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Permits this process would like to hold, of ``limit`` that all processes share. 0 gives them back.

    ``used``: how many it cannot give back now. They stay its own even where it is granted fewer,
    so that they are not in use twice. A process that has not started more than ``used`` when the
    answer comes never takes part in exceeding the limit.
    """

    want: int
    limit: int
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What one process has to say since its last sync. Names and texts are valid Unicode.

    ``holder`` names the process, ``number`` rises with each push that was applied: a push that
    comes twice (its answer was lost) counts once, however late. A push with no notes, counts and
    usage does not use its number up. ``seen`` is the cursor of the last pull, 0 at first; one
    that the store never gave is taken for 0. ``claims`` not named stay as they were. ``lives_s``:
    what this holder claims is free again when it has been silent for this long, not earlier and
    at most half as much later; it has to claim anew then.
    """

    holder: str
    number: int
    seen: int = 0
    notes: Mapping[str, Note] = field(default_factory=dict)
    counts: Mapping[str, Count] = field(default_factory=dict)
    usage: Sequence[UsageRow] = ()
    claims: Mapping[str, Claim] = field(default_factory=dict)
    lives_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What the others did since ``Push.seen``, and what is granted.

    ``notes``: names others wrote (``value=None``: took away). ``counts``: the totals of names to
    which somebody, this process included, added. Everything not expired, its own too, when
    ``seen`` was 0. ``holders``: how many processes are alive, this one included.

    ``held``: permits per claim in the push, at most ``Claim.want``, the rest of ``Claim.limit``
    after what the others hold, and after what each of them still lacks of its share. The share is
    the limit divided by the living holders that want any, rounded down: when more want than there
    are permits, who came first keeps them. What is granted, and what is still in use beyond that,
    never exceeds the limit.
    """

    cursor: int
    notes: Mapping[str, Note] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    holders: int = 1


class StateBackend(Protocol):
    """An open store behind the in-memory state. Never on a request's path.

    ``sync`` is one atomic exchange; it may raise anything, and is then repeated with the same
    number. It returns within seconds or raises.
    """

    async def sync(self, push: Push) -> Pull: ...
    async def usage(self, since: date, until: date) -> Sequence[UsageRow]:
        """Rows of these days, both included, by day and then by name."""
        ...

    async def forget_usage(self, before: date) -> None:
        """Take away the rows of days before this one."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStore:
    """A kind of store, chosen by the scheme of ``state.url``.

    ``open`` is awaited once with the whole URL, and again after anything raised
    :class:`StateLost`, which may be ``open`` itself: then not at once.
    """

    scheme: str
    open: Callable[[str], Awaitable[StateBackend]]


class StateLost(Exception):
    """The store has to be opened anew, and everything pulled with ``seen=0``.

    The message says what is wrong, for the operator, without a secret.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A doctor check: ``run`` returns a problem in one line, or ``None``."""

    name: str
    run: Callable[[], str | None]
