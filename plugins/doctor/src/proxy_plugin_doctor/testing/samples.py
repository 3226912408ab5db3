"""Recorded responses for the conformance kit: files, or what the dialect of a provider would write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy_core import ChatEvent, Dialect, Finish, Provider, ProxyRequest, Start, TextDelta, Usage, UsageReport
from proxy_core.dialects import openai_chat

if TYPE_CHECKING:
    from proxy_core.testing.faults import Wire

_EVENTS: Sequence[ChatEvent] = (
    Start(id="up-1", model="m", created=1_700_000_000),
    TextDelta(text="héllo"),
    TextDelta(text=" wörld"),
    Finish(reason="stop"),
    UsageReport(usage=Usage(prompt=3, completion=2)),
)


class Samples(Struct, frozen=True, kw_only=True):
    """Complete responses, as the upstream sends them to a client that streams or does not."""

    stream: Path | None = None
    plain: Path | None = None

    def wire(self, provider: Provider, dialects: Iterable[Dialect]) -> Wire | None:
        """``None``: the kit's own samples of OpenAI's format, or none."""
        from proxy_core.testing.faults import Wire

        if self.stream is not None:
            plain = self.plain.read_bytes() if self.plain is not None else b""
            return Wire(stream=self.stream.read_bytes(), plain=plain)
        if "openai_chat" in provider.dialects:
            return None
        spoken = [d for d in dialects if d.name in provider.dialects and d.encoder is not None]
        return Wire(stream=_written(spoken[0], True), plain=_written(spoken[0], False)) if spoken else None


def request_of(dialect: Dialect, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What a client of this format sends instead of ``body``, which is in OpenAI's; none, if it is only relayed."""
    return [{**dialect.encode(openai_chat.decode(dict(body))), "model": "m"}] if dialect.encode is not None else []


def _written(dialect: Dialect, stream: bool) -> bytes:
    """A response in this format; the plugin's own encoder is the one that knows it."""
    assert dialect.encoder is not None
    body = {"model": "m", "stream": stream, "messages": []}
    request = ProxyRequest(id="r", client="check", dialect=dialect.name, model="m", stream=stream, body=body)
    encoder = dialect.encoder(dialect.context(request))
    return b"".join(encoder.feed([event]) for event in _EVENTS) + encoder.close()
