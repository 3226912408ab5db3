"""Request and response for providers that use Gemini's format: the dialect, with thought signatures restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex

from proxy_core import (
    CallStart,
    ChatEvent,
    ChatRequest,
    EventDecoder,
    InternalError,
    JsonObject,
    ProviderCall,
    ResponseHead,
)
from proxy_plugin_gemini.dialect.encode import translate
from proxy_plugin_gemini.dialect.names import name_table
from proxy_plugin_gemini.dialect.response_decode import GeminiDecoder
from proxy_plugin_gemini.options import filled
from proxy_plugin_gemini.signatures import SignatureCache


def chat_of(call: ProviderCall) -> ChatRequest:
    if call.chat is None:
        raise InternalError("A Gemini provider received no chat request.")
    return call.chat


def request_of(call: ProviderCall, signatures: SignatureCache) -> tuple[JsonObject, Sequence[str]]:
    """The request without its model, completed with the deployment's options; and the fields that Gemini lacks."""
    chat = chat_of(call)

    def known(call_id: str) -> str | None:
        return signatures.find(call.client, chat.model, call_id)

    encoded = translate(chat, signatures=known)
    return filled(encoded.body, call.options), encoded.dropped


class KeepingDecoder:
    """The dialect's decoder, which also keeps the signatures that it sees."""

    __slots__ = ("_call", "_inner", "_model", "_signatures")

    def __init__(self, call: ProviderCall, streaming: bool, signatures: SignatureCache) -> None:
        chat = chat_of(call)
        self._call = call
        self._model = chat.model
        self._signatures = signatures
        self._inner = GeminiDecoder(streaming, names=name_table(chat), seed=token_hex(8))

    @property
    def ended(self) -> bool:
        return self._inner.ended

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        return self._keep(self._inner.feed(data))

    def close(self) -> Sequence[ChatEvent]:
        return self._keep(self._inner.close())

    def _keep(self, events: Sequence[ChatEvent]) -> Sequence[ChatEvent]:
        for event in events:
            if isinstance(event, CallStart) and event.opaque is not None:
                self._signatures.keep(self._call.client, self._model, event.id, event.opaque.payload)
        return events


def decoder_with(signatures: SignatureCache) -> Callable[[ProviderCall, ResponseHead], EventDecoder]:
    """A provider's ``decoder``."""

    def decoder(call: ProviderCall, response: ResponseHead) -> EventDecoder:
        if call.chat is None:
            # A Gemini client keeps its own signatures; the response is decoded only because a sanitizer reads it.
            return GeminiDecoder(response.is_event_stream, seed=token_hex(8))
        return KeepingDecoder(call, response.is_event_stream, signatures)

    return decoder
