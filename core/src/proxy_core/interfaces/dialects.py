"""Wire formats that clients speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from proxy_core.errors import ProxyError
from proxy_core.interfaces.operations import Operation, RequestHead
from proxy_core.interfaces.providers import EventDecoder
from proxy_core.interfaces.requests import ProxyRequest
from proxy_core.messages import (
    ChatEvent,
    ChatRequest,
    EmbedRequest,
    EmbedResponse,
    Extra,
    JsonObject,
    UpstreamFailure,
    Usage,
)

__all__ = [
    "Batching",
    "Dialect",
    "EncodedError",
    "EventEncoder",
    "Keeping",
    "ResponseContext",
    "StreamFollower",
    "UsageTap",
]


class ResponseContext(Struct, frozen=True, kw_only=True):
    """What a response encoder needs to know about the request. ``extra`` belongs to the dialect.

    ``model`` is the name that the client used. ``prompt_tokens`` estimates the size of the request, for the start of
    translated streams of a dialect that is ``prompt_first``; otherwise it is 0.
    """

    id: str
    model: str
    stream: bool
    include_usage: bool
    created: int
    max_event_bytes: int = 16 * 1024 * 1024
    prompt_tokens: int = 0
    expected_choices: int = 1
    extra: Extra = field(default_factory=dict)


class EventEncoder(Protocol):
    """Converts events to response bytes: as they arrive when streaming, otherwise all at ``close``."""

    def feed(self, events: Sequence[ChatEvent]) -> bytes: ...
    def close(self) -> bytes: ...


class UsageTap(Protocol):
    """Reads usage from a relayed stream. It changes nothing, except that it removes a usage event that the client
    did not ask for, and what follows the end marker, and names the model as the client did (``ModelName`` does this).

    ``feed`` receives whole events and returns the bytes to relay. ``failure`` is an error inside the stream: the
    bytes before it were returned, but neither the error nor what follows it.
    """

    @property
    def committed(self) -> bool:
        """Whether the first content has arrived. A role, an empty text or a usage of 0 is not content."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the end marker has arrived; what follows it is not part of the response."""
        ...

    @property
    def usage(self) -> Usage | None: ...
    @property
    def complete(self) -> bool:
        """Whether the response contained its end marker."""
        ...

    @property
    def failure(self) -> UpstreamFailure | None: ...
    def feed(self, block: bytes) -> bytes: ...
    def close(self) -> bytes:
        """What the client's dialect still requires at the end of a complete response (an end marker)."""
        ...


class EncodedError(Struct, frozen=True, kw_only=True):
    """An error in a dialect's format. Bodies are JSON. ``headers`` are those that the dialect's clients heed;
    ``Retry-After`` is not among them, as every error with a time has it."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


class Batching(Struct, frozen=True, kw_only=True):
    """How to merge several requests of a format into one, and how to split its response. Pure.

    Requests with the same ``key`` can be merged; ``None``: this one cannot. ``size`` is its
    number of inputs. ``split`` returns a response for each of the merged bodies; their usage adds up to that
    of the whole. It raises ``UpstreamBroken`` if the response lacks something that was requested.
    """

    key: Callable[[JsonObject], str | None]
    size: Callable[[JsonObject], int]
    merge: Callable[[Sequence[JsonObject]], JsonObject]
    split: Callable[[bytes, Sequence[JsonObject]], Sequence[bytes]]


class StreamFollower(Protocol):
    """Sees what a client is sent of a stream, for what depends on it: how it is kept alive, and how it may end."""

    @property
    def whole(self) -> bytes | None:
        """The whole response, once its end was added."""
        ...

    def add(self, piece: bytes) -> None:
        """``piece`` is one event or more. It should cost next to nothing."""
        ...

    def heartbeat(self) -> bytes: ...
    def error(self, error: ProxyError, request_id: str) -> bytes:
        """As ``Dialect.stream_error``."""
        ...


class Keeping(Struct, frozen=True, kw_only=True):
    """How responses are kept, for requests that continue them. Pure.

    ``previous`` names the response that a request continues; ``resume(body, value)`` completes its body with what
    was kept of that response, or raises ``BadRequest`` if that is ``None``. ``value(body, response)`` is what to keep
    of a response, and under which name; ``None``: nothing. See ``KeptValue`` about ``most`` and ``most_bytes``.
    """

    previous: Callable[[JsonObject], str | None]
    resume: Callable[[JsonObject, bytes | None], JsonObject]
    value: Callable[[JsonObject, bytes], tuple[str, bytes] | None]
    lives_s: float
    most: int
    most_bytes: int


class Dialect(Struct, frozen=True, kw_only=True):
    """A wire format, both directions, and everything that belongs to it. Pure.

    Requests: ``paths`` are where they are sent; they may have parameters, as Starlette writes them
    (``/models/{model:path}:embedContent``), and one that ends in a parameter is tried after all others.
    ``read_request(head, body)`` returns the body with additions from the path and the headers, ``model`` and
    ``stream`` at least, for a format that has these outside the body. ``check`` raises ``BadRequest`` naming the field.
    ``required`` are the fields that a body must have, and ``reference`` is the page that describes them all, for
    ``/openapi.json``.

    Translation: ``decode``/``encode`` for requests, ``decoder``/``encoder`` for responses; a format that is only
    relayed leaves them ``None``. ``dropped(request)`` names the advisory fields that ``encode`` leaves out, as
    ``openai_chat`` does; ``field_names`` are the format's own names for those that differ from these. ``maker`` is
    whom ``decoder`` names as the maker of what models seal. The family
    ``embeddings`` has ``decode_inputs``/``encode_inputs`` instead and, for whole responses,
    ``decode_embeddings``/``encode_embeddings(response, request body)``.

    Relaying: ``usage_tap(provider, context, strip_usage)`` watches a stream; ``whole_usage`` reads usage from a
    whole response, where it is the member ``usage_key``; ``whole_failure`` detects an error inside a 200 response.
    ``relayed(body)`` is a request for an upstream of the same format: without what another maker sealed.
    ``finish_whole(response, request body)`` adjusts a whole response to what the client asked for (``renamed``).
    ``condense`` reduces a finished stream to fewer events that result in the same response. ``prompt_first``: streams
    begin with the number of prompt tokens, which the upstream may tell only at the end; their context has an estimate.

    ``follower`` sees what is written of a stream, for formats whose errors and heartbeats depend on what went before.
    ``keeping``: responses are kept for later requests of the same client.

    Other requests: ``operations`` are paths that need no provider. ``recognizes(head)`` recognizes the format's
    own clients by their headers or path: where formats share a path, these clients get this format's answer, and
    at paths that belong to no format they get errors in this format. Clients may send their key in one of
    ``key_headers`` or ``key_parameters`` (of the query), besides ``Authorization: Bearer`` and ``X-Api-Key``;
    both in lower case. ``base_path`` is what the base URL of the format's clients ends with, after the proxy's address.
    """

    name: str
    family: Literal["chat", "embeddings"]
    paths: Sequence[str]
    check: Callable[[JsonObject], None]
    encode_error: Callable[[ProxyError, str], EncodedError]
    stream_error: Callable[[ProxyError, str], bytes]
    whole_usage: Callable[[JsonObject], Usage | None]
    whole_failure: Callable[[str, JsonObject], UpstreamFailure | None]
    context: Callable[[ProxyRequest], ResponseContext]
    relayed: Callable[[JsonObject], JsonObject] | None = None
    finish_whole: Callable[[bytes, JsonObject], bytes] | None = None
    decode_inputs: Callable[[JsonObject], EmbedRequest] | None = None
    encode_inputs: Callable[[EmbedRequest], JsonObject] | None = None
    decode_embeddings: Callable[[bytes], EmbedResponse] | None = None
    encode_embeddings: Callable[[EmbedResponse, JsonObject], bytes] | None = None
    decode: Callable[[JsonObject], ChatRequest] | None = None
    encode: Callable[[ChatRequest], JsonObject] | None = None
    dropped: Callable[[ChatRequest], Sequence[str]] | None = None
    maker: str = ""
    field_names: Mapping[str, str] = field(default_factory=dict)
    decoder: Callable[[bool], EventDecoder] | None = None
    encoder: Callable[[ResponseContext], EventEncoder] | None = None
    usage_tap: Callable[[str, ResponseContext, bool], UsageTap] | None = None
    batching: Batching | None = None
    heartbeat: bytes = b""
    prompt_first: bool = False
    read_request: Callable[[RequestHead, JsonObject], JsonObject] | None = None
    usage_key: str = "usage"
    condense: Callable[[bytes], bytes] | None = None
    follower: Callable[[], StreamFollower] | None = None
    keeping: Keeping | None = None
    operations: Sequence[Operation] = ()
    recognizes: Callable[[RequestHead], bool] | None = None
    key_headers: Sequence[str] = ()
    key_parameters: Sequence[str] = ()
    base_path: str = ""
    required: Sequence[str] = ()
    reference: str = ""
