"""From a client's request to a provider's: relayed if the dialects are the same, otherwise translated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from proxy_core import sse
from proxy_core.dialects.shapes import named
from proxy_core.errors import BadRequest, InternalError, PluginFailed, ProxyError, UpstreamBroken
from proxy_core.interfaces import (
    Credential,
    Deployment,
    Dialect,
    Encode,
    EventDecoder,
    Provider,
    ProviderCall,
    ProxyRequest,
    ResponseContext,
    ResponseHead,
)
from proxy_core.interfaces.providers import EVENT_STREAM
from proxy_core.messages import ChatRequest, JsonObject, UpstreamRequest
from proxy_core.messages.stash import StashKey
from proxy_core.models.token_count import rough_tokens
from proxy_core.network.fetch import GuardedFetcher
from proxy_core.network.headers import HOP_HEADER
from proxy_core.pipeline.makers import MakerDecoder, with_makers
from proxy_core.pipeline.overheard import Overheard
from proxy_core.pipeline.relayed import RelayedStream, RelayedWhole
from proxy_core.pipeline.response import ResponseBody
from proxy_core.pipeline.sanitize import FilterChain
from proxy_core.pipeline.secret_filter import sent_secrets, spelled
from proxy_core.pipeline.translation import TranslatedEmbeddings, TranslatedResponse
from proxy_core.pipeline.unread import noting, unread


class Calls:
    """Prepares calls; knows all dialects."""

    def __init__(
        self, dialects: Mapping[str, Dialect], max_event_bytes: int, secrets: Mapping[str, Sequence[str]]
    ) -> None:
        """``secrets``: what the settings of each provider add to its requests."""
        self._dialects = dialects
        self._max_event_bytes = max_event_bytes
        self._secrets = {provider: spelled(added) for provider, added in secrets.items()}

    def dialect(self, request: ProxyRequest) -> Dialect:
        """The client's dialect."""
        return self._dialects[request.dialect]

    def able(self, request: ProxyRequest, deployments: Sequence[Deployment]) -> list[Deployment]:
        """The deployments that can serve this dialect. Raises ``BadRequest`` if there are none."""
        client = self._dialects[request.dialect]
        able = [d for d in deployments if self._is_able(client, d)]
        if not able:
            raise BadRequest(f"The model {request.model!r} does not support this endpoint.", param="model")
        return able

    def _is_able(self, client: Dialect, deployment: Deployment) -> bool:
        try:
            return self._wire(client, deployment) is not _NO_WAY
        except PluginFailed:
            return True  # its attempt fails with this error, and another provider takes over

    def prepare(self, request: ProxyRequest, deployment: Deployment, filters: FilterChain | None) -> Call:
        client = self._dialects[request.dialect]
        wire = self._wire(client, deployment)
        call = Call(request, deployment, filters, client, self._dialects.get(wire), self._max_event_bytes)
        call.secrets = self._secrets.get(deployment.provider.name, ())
        return call

    def _wire(self, client: Dialect, deployment: Deployment) -> str:
        """The dialect for the upstream; ``""`` for the provider's own format, ``_NO_WAY`` if there is none."""
        provider = deployment.provider
        spoken = provider.dialects if provider.dialects_of is None else provider.dialects_of(deployment.model)
        if client.name in spoken:
            return client.name
        if client.family == "embeddings":
            return self._embeddings_wire(client, provider)
        if client.decode is None or client.encoder is None:
            return _NO_WAY
        if not any(self._dialects[d].family == "chat" for d in spoken):
            return ""
        return next((d for d in spoken if self._dialects[d].encode is not None), _NO_WAY)

    def _embeddings_wire(self, client: Dialect, provider: Provider) -> str:
        """A dialect that inputs can be translated into and embeddings can be read from."""
        if client.decode_inputs is None or client.encode_embeddings is None:
            return _NO_WAY
        for name in provider.dialects:
            wire = self._dialects[name]
            if wire.encode_inputs is not None and (provider.decode_embeddings or wire.decode_embeddings) is not None:
                return name
        return _NO_WAY


_NO_WAY = "\0"
_FETCHED = StashKey[ChatRequest]("proxy_core.fetched")


class Call(Struct, eq=False):
    """The two translations of one attempt: the request to the upstream, the response to the client."""

    __repr__ = object.__repr__  # it holds secrets and a body

    _request: ProxyRequest
    _deployment: Deployment
    _filters: FilterChain | None
    _client: Dialect
    _wire: Dialect | None
    _max_event_bytes: int
    #: The secrets sent to the upstream, because its response may repeat them.
    secrets: tuple[bytes, ...] = ()
    _sent: ProviderCall | None = None
    _prompt_tokens: int = 0

    @property
    def translated(self) -> bool:
        """Whether the upstream receives something other than the client's own body."""
        return self._wire is not self._client

    async def fetch_links(self, fetcher: GuardedFetcher) -> None:
        """Fetch what the request links to, once per request, for a provider that cannot open links itself."""
        limits = self._deployment.provider.fetch_links
        chat = self._wire is not self._client and self._client.family == "chat"
        if limits is None or not chat or _FETCHED in self._request.stash:
            return
        self._request.stash[_FETCHED] = await fetcher.inline(self._chat(), limits)

    def encode(self, credential: Credential, encode: Encode | None = None) -> UpstreamRequest:
        """The upstream request. Raises ``BadRequest`` for anything that the provider cannot represent.

        ``encode``: what to use instead of the provider's own, for another request than that for the response.
        """
        try:
            self._sent = self._call()
            if self._client.prompt_first and (self.translated or self._filters):  # here: for a large body in a thread
                self._prompt_tokens = rough_tokens(self._request.body)
            message = (encode or self._deployment.provider.encode)(self._sent, credential)
            self.secrets = (*self.secrets, *sent_secrets(message.headers, credential.secret.get_secret_value()))
            hops = (HOP_HEADER, str(self._request.hops + 1))
            names = self._client.field_names
            dropped = [*self._request.left_out, *(named(name, names) for name in (*self._dropped(), *message.dropped))]
            unique = list(dict.fromkeys(dropped)) if dropped else dropped
            return replace(message, headers=[*message.headers, hops], dropped=unique)
        except ProxyError:
            raise
        except Exception as error:  # a dialect may fail in any way
            name = self._deployment.provider.name
            raise InternalError(f"The request could not be translated for provider {name!r}.") from error

    def _dropped(self) -> Sequence[str]:
        """The fields that the translation into the provider's dialect left out, or that the provider did not read."""
        chat, wire = self._sent.chat if self._sent is not None else None, self._wire
        if chat is None:
            return ()
        if wire is None:
            return unread(chat)
        return wire.dropped(chat) if wire.dropped is not None else ()

    def _call(self) -> ProviderCall:
        deployment, wire = self._deployment, self._wire
        if wire is self._client:
            body = self._request.body if wire.relayed is None else wire.relayed(self._request.body)
            return self._in(wire, {**body, "model": deployment.model})
        if wire is not None and self._client.family == "embeddings":
            return self._in(wire, self._inputs(wire))
        chat = self._chat() if wire is not None else noting(self._chat())
        if wire is not None and (maker := self._maker(wire)):
            chat = with_makers(chat, maker, wire.maker)
        if wire is None or wire.encode is None or deployment.provider.reads_chat:
            return self._in(None, {}, chat)
        return self._in(wire, wire.encode(chat), chat)

    def _in(self, wire: Dialect | None, body: JsonObject, chat: ChatRequest | None = None) -> ProviderCall:
        options = self._deployment.options
        return ProviderCall(
            dialect=wire.name if wire is not None else None,
            body={**options, **body} if wire is not None else {},
            chat=chat,
            stream=self._request.stream,
            client=self._request.client,
            options=options,
        )

    def _inputs(self, wire: Dialect) -> JsonObject:
        """The inputs to embed, in the provider's format."""
        decode, encode = self._client.decode_inputs, wire.encode_inputs
        if decode is None or encode is None:
            raise InternalError(f"The dialect {self._client.name!r} cannot be translated into {wire.name!r}.")
        return encode(replace(decode(self._request.body), model=self._deployment.model))

    def _chat(self) -> ChatRequest:
        decode = self._client.decode
        if decode is None:
            raise InternalError(f"The dialect {self._client.name!r} cannot be translated.")
        chat = self._request.stash.get(_FETCHED) or decode(self._request.body)
        return replace(chat, model=self._deployment.model)

    def is_stream(self, begun: bytes, response: ResponseHead) -> bool | None:
        """Whether a body that begins like this is an event stream, however it is labelled; ``None``: too short to tell.

        The label decides for a format of the provider's own.
        """
        own = self._wire is None or self._deployment.provider.decoder is not None
        labelled = response.content_type == EVENT_STREAM
        return labelled if own else sse.is_stream(begun, labelled)

    def body(self, is_event_stream: bool, response: ResponseHead) -> ResponseBody:
        """The converter from the upstream's bytes to the client's."""
        provider, client, request = self._deployment.provider, self._client, self._request
        if client.family == "embeddings":
            wire = self._wire if self._wire is not client else None
            read = provider.decode_embeddings or (wire.decode_embeddings if wire is not None else None)
            if read is not None and client.encode_embeddings is not None:
                failure = wire.whole_failure if wire is not None and provider.decode_embeddings is None else None
                return TranslatedEmbeddings(provider.name, failure, read, client.encode_embeddings, request.body)
            return RelayedWhole(client, provider.name, request.body)
        readable = provider.decoder is None or provider.relays
        listen = provider.listener(self._sent) if provider.listener is not None and self._sent is not None else None
        relayed = self._wire is client and readable and self._filters is None and listen is None
        if relayed and is_event_stream == request.stream and (client.usage_tap is None or not request.stream):
            return RelayedWhole(client, provider.name, request.body)
        context = replace(
            client.context(request), max_event_bytes=self._max_event_bytes, prompt_tokens=self._prompt_tokens
        )
        if relayed and is_event_stream and client.usage_tap is not None and request.stream:
            # The provider's encoder may have requested usage; if the client did not, the event is left out.
            strip = not context.include_usage
            return RelayedStream(client.usage_tap(provider.name, context, strip), self._max_event_bytes)
        decoder = self._decoder(is_event_stream, response)
        return self._translated(
            context, Overheard(decoder, listen) if decoder is not None and listen is not None else decoder
        )

    def _translated(self, context: ResponseContext, decoder: EventDecoder | None) -> ResponseBody:
        provider = self._deployment.provider
        if decoder is None or self._client.encoder is None:
            raise UpstreamBroken(f"The provider {provider.name!r} sent a response that cannot be translated.")
        sent = self._sent.chat if self._sent is not None else None
        return TranslatedResponse(provider.name, decoder, self._filters, self._client.encoder(context), sent)

    def _decoder(self, is_event_stream: bool, response: ResponseHead) -> EventDecoder | None:
        decoder, wire = self._deployment.provider.decoder, self._wire
        if decoder is not None and self._sent is not None:
            return decoder(self._sent, response)
        if wire is None or wire.decoder is None:
            return None
        found, maker = wire.decoder(is_event_stream), self._maker(wire)
        return MakerDecoder(found, wire.maker, maker) if maker else found

    def _maker(self, wire: Dialect) -> str:
        """Empty if it is the format's; and for clients of the same format, who get the upstream's bytes as they are."""
        return self._deployment.provider.maker if wire.maker and self.translated else ""
