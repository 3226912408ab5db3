"""What providers of Gemini's format do with a request and a response: the dialect, and the signatures around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex

from proxy_core import CallStart, ChatEvent, ChatRequest, EventDecoder, InternalError, JsonObject, ProviderCall
from proxy_plugin_gemini.dialect.encode import translate
from proxy_plugin_gemini.dialect.names import name_table
from proxy_plugin_gemini.dialect.response_decode import GeminiDecoder
from proxy_plugin_gemini.options import filled
from proxy_plugin_gemini.signatures import SignatureCache


def chat_of(call: ProviderCall) -> ChatRequest:
    if call.chat is None:
        raise InternalError("A Gemini provider was given no chat.")
    return call.chat


def request_of(call: ProviderCall, signatures: SignatureCache) -> tuple[JsonObject, Sequence[str]]:
    """The inner request, without its model, with the deployment's options; and the fields it has none for."""
    chat = chat_of(call)

    def known(call_id: str) -> str | None:
        return signatures.find(call.client, chat.model, call_id)

    encoded = translate(chat, signatures=known)
    return filled(encoded.body, call.options), encoded.dropped


class KeepingDecoder:
    """The dialect's decoder, and a look at the signatures that pass."""

    __slots__ = ("_call", "_inner", "_model", "_signatures")

    def __init__(self, call: ProviderCall, streaming: bool, signatures: SignatureCache) -> None:
        chat = chat_of(call)
        self._call = call
        self._model = chat.model
        self._signatures = signatures
        self._inner = GeminiDecoder(streaming, names=name_table(chat), seed=token_hex(8))

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        return self._keep(self._inner.feed(data))

    def close(self) -> Sequence[ChatEvent]:
        return self._keep(self._inner.close())

    def _keep(self, events: Sequence[ChatEvent]) -> Sequence[ChatEvent]:
        for event in events:
            if isinstance(event, CallStart) and event.opaque is not None:
                self._signatures.keep(self._call.client, self._model, event.id, event.opaque.payload)
        return events


def decoder_for(signatures: SignatureCache) -> Callable[[ProviderCall, bool], EventDecoder]:
    """A provider's ``decoder_for``."""

    def decoder(call: ProviderCall, streaming: bool) -> EventDecoder:
        if call.chat is None:
            # A Gemini client's own words, which it carries itself; a sanitizer looks at the reply.
            return GeminiDecoder(streaming, seed=token_hex(8))
        return KeepingDecoder(call, streaming, signatures)

    return decoder
