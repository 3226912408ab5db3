"""A decoder whose events a provider listens to, as it has to remember some of them."""

from __future__ import annotations

from collections.abc import Sequence

from proxy_core.interfaces import EventDecoder
from proxy_core.interfaces.providers import Listener
from proxy_core.messages import ChatEvent


class Overheard:
    def __init__(self, decoder: EventDecoder, listen: Listener) -> None:
        self._decoder, self._listen = decoder, listen

    @property
    def ended(self) -> bool:
        return self._decoder.ended

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        return self._heard(self._decoder.feed(data))

    def close(self) -> Sequence[ChatEvent]:
        return self._heard(self._decoder.close())

    def _heard(self, events: Sequence[ChatEvent]) -> Sequence[ChatEvent]:
        self._listen(events)
        return events
