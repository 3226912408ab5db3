"""Who made what a model sealed. Several makers may have one wire format, whose decoder knows only one of them.

Pure. For a provider with a ``maker`` of its own, that name and the format's change places on the way to the upstream
and back, so that no maker is sent what another one sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from proxy_core.interfaces import EventDecoder
from proxy_core.messages import (
    CallStart,
    ChatEvent,
    ChatRequest,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningDelta,
    Text,
    ToolCall,
)


def with_makers(chat: ChatRequest, one: str, other: str) -> ChatRequest:
    """The request with both names in each other's place."""
    names = {one: other, other: one}
    return replace(chat, messages=[_message(message, names) for message in chat.messages])


def _message(message: Message, names: Mapping[str, str]) -> Message:
    return replace(message, parts=[_part(part, names) for part in message.parts])


def _part(part: Part, names: Mapping[str, str]) -> Part:
    match part:
        case Text(opaque=Opaque() as opaque):
            return replace(part, opaque=_named(opaque, names))
        case Reasoning(opaque=Opaque() as opaque):
            return replace(part, opaque=_named(opaque, names))
        case ToolCall(opaque=Opaque() as opaque):
            return replace(part, opaque=_named(opaque, names))
        case _:
            return part


def _named(opaque: Opaque, names: Mapping[str, str]) -> Opaque:
    return replace(opaque, maker=names.get(opaque.maker, opaque.maker))


class MakerDecoder:
    """A decoder that names ``maker`` where the wire format's names ``usual``."""

    def __init__(self, decoder: EventDecoder, usual: str, maker: str) -> None:
        self._decoder, self._names = decoder, {usual: maker}

    @property
    def ended(self) -> bool:
        return self._decoder.ended

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        return [self._event(event) for event in self._decoder.feed(data)]

    def close(self) -> Sequence[ChatEvent]:
        return [self._event(event) for event in self._decoder.close()]

    def _event(self, event: ChatEvent) -> ChatEvent:
        match event:
            case ReasoningDelta(opaque=Opaque() as opaque):
                return replace(event, opaque=_named(opaque, self._names))
            case CallStart(opaque=Opaque() as opaque):
                return replace(event, opaque=_named(opaque, self._names))
            case _:
                return event
