"""Providers: how to talk to an upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field
from pydantic import SecretStr

from proxy_core.interfaces.models import ModelInfo
from proxy_core.interfaces.requests import Credential, FailureDecision, Lifecycle, ModelSpec, ProviderCall, QuotaWindow
from proxy_core.messages import (
    ChatEvent,
    EmbedResponse,
    Extra,
    UpstreamFailure,
    UpstreamRequest,
    repr_without,
)
from proxy_core.settings.rotation import RotationSettings

__all__ = [
    "AskQuota",
    "ByteStream",
    "ClassifyFailure",
    "Deployment",
    "Encode",
    "EventDecoder",
    "FetchLimits",
    "FindModelInfo",
    "FoundKey",
    "HttpClient",
    "HttpResponse",
    "KeyFile",
    "ListModels",
    "ModelCatalog",
    "Provider",
    "ProviderResponse",
    "ReadQuota",
    "ResponseHead",
    "Send",
    "UpstreamCount",
]


class FoundKey(Struct, frozen=True, kw_only=True):
    """Another program's API key. ``name`` is a name for it, ``tier`` is as in ``[providers.<name>] api_keys``."""

    key: SecretStr
    name: str
    tier: str | None = None


class KeyFile(Struct, frozen=True, kw_only=True):
    """Another program's settings file, from which its API keys can be copied.

    ``read(data, variables)`` returns at least one key. It raises ``ValueError`` if the file has another format
    or contains no key, and says what it looked for. ``variables`` have upper-case names: those of the
    environment, which override those in ``dotenvs``, the ``.env`` files that the program reads (highest
    precedence first; a relative path is searched in the working folder and its parents).
    ``paths`` are the usual paths.
    """

    name: str
    read: Callable[[bytes, Mapping[str, str]], Sequence[FoundKey]]
    paths: Sequence[str] = ()
    dotenvs: Sequence[str] = ()


class EventDecoder(Protocol):
    """Converts response bytes to events. Any split of the bytes gives the same events.

    ``ended`` becomes true when the end marker of a stream arrives: the core then reads no further. In a format
    without one it is always false.
    """

    @property
    def ended(self) -> bool: ...

    def feed(self, data: bytes) -> Sequence[ChatEvent]: ...
    def close(self) -> Sequence[ChatEvent]:
        """Called at the end of the bytes. Raises ``StreamCut`` if the response was not complete."""
        ...


EVENT_STREAM = "text/event-stream"


class ResponseHead(Struct, frozen=True, kw_only=True):
    """What is known of a response when its first bytes arrive.

    ``content_type`` is the media type that the upstream gives it, in lower case and without parameters; empty if it
    gives none. ``streaming``: whether the client wants a stream. The two may differ.
    """

    content_type: str
    streaming: bool

    @property
    def is_event_stream(self) -> bool:
        return self.content_type == EVENT_STREAM


class ListModels(Struct, frozen=True, kw_only=True):
    """How to list a provider's models: the request, and the parser of its response. All are pure.

    ``more``: the request for the next page, given the last request and its response; ``None`` if there is none.
    """

    request: Callable[[Credential], UpstreamRequest]
    parse: Callable[[bytes], Sequence[ModelSpec]]
    more: Callable[[UpstreamRequest, bytes], UpstreamRequest | None] | None = None


class FetchLimits(Struct, frozen=True, kw_only=True):
    """Limits for documents that clients link to and that the core fetches for a provider.

    ``max_bytes`` and ``timeout_s`` apply to each document, including redirects; ``types`` are
    prefixes of media types.
    """

    max_bytes: int = 20 * 1024 * 1024
    timeout_s: float = 20.0
    types: Sequence[str] = ("image/", "audio/", "video/", "application/pdf", "text/plain")


Encode = Callable[[ProviderCall, Credential], UpstreamRequest]


class UpstreamCount(Struct, frozen=True, kw_only=True):
    """How to have a provider count the tokens of a request. Pure.

    ``request`` gets what ``encode`` would get; whatever it raises, another counter counts. ``parse`` reads the response
    and raises ``ValueError``.
    """

    request: Encode
    parse: Callable[[bytes], int]


class ByteStream(Protocol):
    """A body that is still arriving. ``aclose`` ends the exchange; iterating raises ``OSError`` if it breaks off."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class ProviderResponse(Struct, frozen=True, kw_only=True):
    """The result of a provider's ``send``, with a whole body or a stream. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | ByteStream = b""


#: Sends an encoded request, for a provider that has its own sockets. May raise ``TimeoutError``
#: and ``TransportFailed``; cancelling it ends the exchange.
Send = Callable[[UpstreamRequest, Credential], Awaitable[ProviderResponse]]


ClassifyFailure = Callable[[UpstreamFailure], FailureDecision]


#: From response headers (lower-case names) and their time of arrival to the quota they report. Pure.
ReadQuota = Callable[[Mapping[str, str], datetime], Sequence[QuotaWindow]]


class HttpResponse(Struct, frozen=True):
    """A whole response. ``headers`` have lower-case names."""

    __repr__ = repr_without("headers", "body")

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient(Protocol):
    """The core's guarded HTTP client, for refreshers, logins and quotas: sends one request and returns its response.

    Raises ``TransportFailed`` if there is no response within ``timeout_s``.
    """

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse: ...


#: Requests the remaining quota of a credential. An exception is logged, and the quota is requested again later; for an
#: answer that cannot be used it is ``UpstreamBroken``, as any other one is the plugin's own.
AskQuota = Callable[[Credential, HttpClient], Awaitable[Sequence[QuotaWindow]]]


#: Is given events as they are decoded, in their order.
Listener = Callable[[Sequence[ChatEvent]], None]


class Provider(Struct, frozen=True, kw_only=True):
    """How to talk to one upstream. The core does the I/O; ``None`` means "not supported" or "the default".

    ``dialects`` are the wire formats that it speaks, in order of preference. The core relays clients of these
    dialects, and translates any other chat client to the first one that can represent the request.
    ``dialects_of(model)`` are those of one model, if its models differ in that: some of ``dialects``. A provider
    without a chat dialect receives the neutral ``ProviderCall.chat`` and needs a ``decoder``; with ``reads_chat``
    it receives that, and no body, whenever it does not relay.
    ``decoder(call, response)`` returns a new decoder for each attempt, which may depend on what ``encode`` received
    and on the head of the response. A provider with a dialect may have one, too, because its responses need repair:
    then none of its chat responses are relayed; with ``relays``, those to clients of its own dialects are, and the
    decoder reads only what is translated or filtered. ``decode_embeddings`` reads a whole response of a provider
    whose embeddings are not in OpenAI's format. ``listener(call)`` returns a function that is given the events of this
    response, if the provider has to remember some of it: such a response is translated, not relayed.
    ``classify_failure=None`` selects the core's classifier.
    ``accepts_api_keys``: API keys work as well as credentials of its ``credential_kind``; ``kinds_for`` names the kinds
    of credentials that can serve a family of dialects (``embeddings``), if not all can; the others are then no
    candidates. ``key_files`` are other programs' settings files to import keys from.
    ``credential_optional`` providers (a local server) work without a credential.
    ``flat_rate``: requests with logins are covered by a subscription; with an API key they may cost money.
    ``read_quota=None`` selects the core's parser of rate-limit headers. ``rotation`` has the defaults for
    ``[providers.<name>.rotation]``; ``max_priority(model)`` is the highest priority number that may serve a
    model, if its plans differ in that. ``quota`` is called for each credential of its ``credential_kind`` every
    ``quota_every_s``, outside of requests.
    ``count_tokens``: the provider counts the tokens of a request itself, for clients that ask for that.
    ``models`` are the models that are known without a request; ``models_complete`` means that there are no others.
    ``fetch_links``: the provider cannot open links, so the core fetches documents that ``chat`` links to, through
    its guarded fetcher, and passes them as ``InlineData``.
    ``send``: requests are not sent by the core but by this function, for a library that has its own sockets;
    the core still applies deadlines, cancellation, retries and cooldowns. ``prefix`` is the prefix of its models'
    names, if it is not ``name``; it may contain one ``/``.
    ``servers`` are other addresses that its credentials are sent to, such as one for quotas: the start names them.
    ``maker``: whose models read what this provider's models seal, if that is not the maker of its wire format.
    """

    name: str
    encode: Encode
    send: Send | None = None
    prefix: str | None = None
    servers: Sequence[str] = ()
    maker: str = ""
    dialects: Sequence[str] = ()
    dialects_of: Callable[[str], Sequence[str]] | None = None
    reads_chat: bool = False
    decoder: Callable[[ProviderCall, ResponseHead], EventDecoder] | None = None
    relays: bool = False
    listener: Callable[[ProviderCall], Listener | None] | None = None
    decode_embeddings: Callable[[bytes], EmbedResponse] | None = None
    classify_failure: ClassifyFailure | None = None
    read_quota: ReadQuota | None = None
    quota: AskQuota | None = None
    quota_every_s: float = 300.0
    rotation: RotationSettings = field(default_factory=RotationSettings)
    max_priority: Callable[[str], int | None] | None = None
    list_models: ListModels | None = None
    count_tokens: UpstreamCount | None = None
    models: Sequence[ModelSpec] = ()
    models_complete: bool = False
    credential_kind: str = "api_key"
    accepts_api_keys: bool = False
    kinds_for: Mapping[str, Sequence[str]] = field(default_factory=dict)
    key_files: Sequence[KeyFile] = ()
    credential_optional: bool = False
    flat_rate: bool = False
    fetch_links: FetchLimits | None = None
    lifecycle: Lifecycle = field(default_factory=Lifecycle)


class Deployment(Struct, frozen=True, kw_only=True):
    """One provider and upstream model that can serve a public model.

    ``options`` set request fields that the client did not send.
    """

    provider: Provider
    model: str
    options: Extra = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.model}"


#: From a provider's name and its own model id to metadata. Fast and pure.
FindModelInfo = Callable[[str, str], ModelInfo | None]


class ModelCatalog(Struct, frozen=True, kw_only=True):
    """A table of models. Lower ``rank`` takes precedence, then the name.

    ``load`` may block: it runs once, in a thread, when the table is first needed. An exception is logged, and
    the table counts as empty. ``newer`` yields newer tables from then on; an exception from it is logged, and the
    last table stays.
    """

    name: str
    load: Callable[[], FindModelInfo]
    newer: Callable[[HttpClient], AsyncIterator[FindModelInfo]] | None = None
    rank: int = 0
