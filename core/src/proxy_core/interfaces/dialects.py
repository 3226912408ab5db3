"""Wire formats that clients speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseContext:
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


class UsageTap(Protocol):
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
    """A wire format, both directions, and everything that belongs to it. Pure.

    Requests: ``paths`` are where they are sent; they may have parameters, as Starlette writes them
    (``/models/{model:path}:embedContent``), and one that ends in a parameter is tried after all others.
    ``read_request(head, body)`` gives the body with what the address and the headers say added to it, ``model``
    and ``stream`` at least, for a format that says these elsewhere. ``check`` raises ``BadRequest`` naming the field.

    Translation: ``decode``/``encode`` for requests, ``decoder``/``encoder`` for responses; a format that is only
    relayed leaves them ``None``. Of the family ``embeddings`` these are ``decode_inputs``/``encode_inputs`` and,
    for whole responses, ``decode_embeddings``/``encode_embeddings(response, request body)``.

    Relaying: ``usage_tap(provider, context, strip_usage)`` watches a stream; ``whole_usage`` reads usage out of a
    whole response, where it is the member ``usage_key``; ``whole_failure`` finds an error hiding behind status 200.
    ``finish_whole(response, request body)`` makes a whole response what the client asked for. ``condense`` makes a
    finished stream one of fewer events that amounts to the same response.

    Around it: ``operations`` are addresses that need no provider. ``recognizes(head)`` tells the format's own
    clients by their headers or address: they get its answer where formats share an address, and its wording of
    errors at addresses that belong to no format. Its clients send their key in one of ``key_headers`` or
    ``key_parameters`` (of the query), besides ``Authorization: Bearer`` and ``X-Api-Key``; both in lower case.
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
    finish_whole: Callable[[bytes, JsonObject], bytes] | None = None
    decode_inputs: Callable[[JsonObject], EmbedRequest] | None = None
    encode_inputs: Callable[[EmbedRequest], JsonObject] | None = None
    decode_embeddings: Callable[[bytes], EmbedResponse] | None = None
    encode_embeddings: Callable[[EmbedResponse, JsonObject], bytes] | None = None
    decode: Callable[[JsonObject], ChatRequest] | None = None
    encode: Callable[[ChatRequest], JsonObject] | None = None
    decoder: Callable[[bool], EventDecoder] | None = None
    encoder: Callable[[ResponseContext], EventEncoder] | None = None
    usage_tap: Callable[[str, ResponseContext, bool], UsageTap] | None = None
    batching: Batching | None = None
    heartbeat: bytes = b""
    read_request: Callable[[RequestHead, JsonObject], JsonObject] | None = None
    usage_key: str = "usage"
    condense: Callable[[bytes], bytes] | None = None
    operations: Sequence[Operation] = ()
    recognizes: Callable[[RequestHead], bool] | None = None
    key_headers: Sequence[str] = ()
    key_parameters: Sequence[str] = ()
