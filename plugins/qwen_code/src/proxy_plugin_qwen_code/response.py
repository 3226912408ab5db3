"""Decode responses, whatever form they have: repair them, then let the core's own decoder read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy_core import ChatEvent, Failed, JsonObject, UpstreamBroken, json_bytes, load_object, sse
from proxy_core.dialects.openai_chat import MAX_EVENT_BYTES, OpenAIChatDecoder
from proxy_plugin_qwen_code.errors import PAGE, PAGE_WORDS
from proxy_plugin_qwen_code.repair import StreamRepair, error_in

_BOM = b"\xef\xbb\xbf"


class QwenDecoder:
    """Decodes events, JSON lines, one JSON object or a web page; the first byte tells which, whatever the headers say.

    Everything except events is decoded at its end.
    """

    def __init__(self, *, think_tags: bool = True) -> None:
        self._begun = b""
        self._events: bool | None = None
        self._splitter = sse.EventSplitter(MAX_EVENT_BYTES)
        self._repair = StreamRepair(think_tags=think_tags)
        self._decoder = OpenAIChatDecoder(True)
        self.ended = False

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        if self._events is None or not self._events:
            self._begun += data
            first = self._begun.removeprefix(_BOM).lstrip()[:1]
            if self._events is None and first:
                self._events = first not in (b"{", b"[", b"<")
            if not self._events:
                return ()
            data, self._begun = self._begun, b""
        return list(self._block(self._splitter.feed(data)))

    def close(self) -> Sequence[ChatEvent]:
        """Raises ``StreamCut``, ``UpstreamBroken``."""
        if not self._events:
            return list(self._whole(self._begun.removeprefix(_BOM).strip()))
        return [*self._block(self._splitter.close()), *self._end(done=False)]

    def _block(self, block: bytes) -> Iterator[ChatEvent]:
        for event in sse.events(block):
            if event.data.startswith(b"[DONE]"):
                yield from self._end(done=True)
            if self.ended or self._repair.failed:
                return
            chunk = load_object(event.data)
            if chunk is None:
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")
            yield from self._chunk(chunk)

    def _chunk(self, chunk: JsonObject) -> Iterator[ChatEvent]:
        for repaired in self._repair.chunk(chunk):
            yield from self._decoder.feed(sse.encode(json_bytes(repaired)))

    def _end(self, *, done: bool) -> Iterator[ChatEvent]:
        if self.ended:
            return
        self.ended = True
        for repaired in self._repair.end(done=done):
            yield from self._decoder.feed(sse.encode(json_bytes(repaired)))

    def _whole(self, data: bytes) -> Iterator[ChatEvent]:
        if data.startswith(b"<"):
            yield Failed(message=PAGE_WORDS, code=PAGE)
            return
        one = load_object(data)
        chunks = [one] if one is not None else [load_object(line) for line in data.splitlines() if line.strip()]
        done = bool(chunks) and chunks[-1] is None and data.rstrip().endswith(b"[DONE]")
        read = [chunk for chunk in (chunks[:-1] if done else chunks) if chunk is not None]
        if not read or not (isinstance(read[0].get("choices"), list) or error_in(read[0])):
            raise UpstreamBroken("The upstream's response is not a chat completion.")
        for chunk in read:
            yield from self._chunk(chunk)
        yield from self._end(done=done or one is not None)
