"""Providers: how to talk to an upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from proxy_core.interfaces.requests import Credential, FailureDecision, Lifecycle, ModelSpec, ProviderCall, QuotaWindow
from proxy_core.messages import (
    ChatEvent,
    EmbedResponse,
    Extra,
    UpstreamFailure,
    UpstreamRequest,
)
from proxy_core.settings.rotation import RotationSettings


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


class ByteStream(Protocol):
    """A body while it comes. ``aclose`` ends the exchange; iterating raises ``OSError`` where it breaks off."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderResponse:
    """What a provider's ``send`` got: a whole body, or one still to come. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | ByteStream = b""


#: An encoded request to its answer, for who talks to its upstream itself. May raise ``TimeoutError``
#: and ``TransportFailed``; cancelling it ends the exchange.
Send = Callable[[UpstreamRequest, Credential], Awaitable[ProviderResponse]]


ClassifyFailure = Callable[[UpstreamFailure], FailureDecision]


#: Reply headers (lower-case names) and the time they came, to what they say about quota. Pure.
ReadQuota = Callable[[Mapping[str, str], datetime], Sequence[QuotaWindow]]


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole answer. ``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HttpClient(Protocol):
    """The core's guarded door to the network, for refreshers, logins and quotas: one request, its answer.

    Raises ``TransportFailed`` if there was none within ``timeout_s``.
    """

    async def __call__(self, request: UpstreamRequest, *, timeout_s: float = 30.0) -> HttpResponse: ...


#: Asks what a login has left. What it raises is logged and asked again later.
AskQuota = Callable[[Credential, HttpClient], Awaitable[Sequence[QuotaWindow]]]


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
    provider whose embeddings are not in OpenAI's shape. ``classify_failure=None`` is the core's classifier.
    ``accepts_api_keys``: API keys do as well as credentials of its ``credential_kind``; ``key_files`` are
    other programs' settings to import them from.
    ``credential_optional`` providers (a local server) work without a credential.
    ``flat_rate``: a subscription pays for what its logins are used for; with an API key it may cost.
    ``read_quota=None`` is the core's reading of rate-limit headers. ``rotation`` is how its
    credentials are spent unless settings say otherwise; ``max_priority(model)`` the highest
    priority number that may serve a model, where its plans differ. ``quota`` is asked for each login
    every ``quota_every_s``, off the path of requests.
    ``models`` is what it is known to offer before it was asked; ``models_complete`` means nothing else.
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
    decode_embeddings: Callable[[bytes], EmbedResponse] | None = None
    classify_failure: ClassifyFailure | None = None
    read_quota: ReadQuota | None = None
    quota: AskQuota | None = None
    quota_every_s: float = 300.0
    rotation: RotationSettings = field(default_factory=RotationSettings)
    max_priority: Callable[[str], int | None] | None = None
    list_models: ListModels | None = None
    models: Sequence[ModelSpec] = ()
    models_complete: bool = False
    credential_kind: str = "api_key"
    accepts_api_keys: bool = False
    key_files: Sequence[KeyFile] = ()
    credential_optional: bool = False
    flat_rate: bool = False
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
