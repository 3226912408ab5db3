"""Responses of the wire format ``gemini``, bytes to events: one object, an event stream or a JSON array.

An envelope ``{"response": {...}, "traceId": ...}`` around each object is removed. No event is emitted before
there is content to deliver, so that an empty response can still be retried elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from proxy_core import (
    CallStart,
    Carried,
    ChatEvent,
    Failed,
    Finish,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Start,
    StreamCut,
    TextDelta,
    UpstreamBroken,
    UsageReport,
    load_json,
    sse,
)
from proxy_plugin_gemini.dialect.array import ArraySplitter
from proxy_plugin_gemini.dialect.candidate import Candidate, ending
from proxy_plugin_gemini.dialect.common import NAME, created_of, decode_usage
from proxy_plugin_gemini.dialect.errors import error_of, status_of
from proxy_plugin_gemini.dialect.names import NameTable

MAX_EVENT_BYTES = 64 * 1024 * 1024
_BLANK = b"\xef\xbb\xbf \t\r\n"


class GeminiDecoder:
    """Decodes a response, streamed or whole. Any split of the bytes gives the same events.

    ``names`` are the request's, to restore the client's function names. ``seed`` goes into the ids of calls
    that arrive without one: with a different seed per attempt, no two calls share an id.
    """

    #: The format has no end marker.
    ended = False

    def __init__(self, streaming: bool, *, names: NameTable | None = None, seed: str = "") -> None:
        self._streaming = streaming
        self._names = names or NameTable()
        self._seed = seed
        self._bytes = b""
        self._parts: list[bytes] = []
        self._events: sse.EventSplitter | None = None
        self._array: ArraySplitter | None = None
        self._candidates: dict[int, Candidate] = {}
        self._held: list[ChatEvent] = []
        self._delivered = self._started = self._failed = self._unreadable = False
        self._blocked: JsonObject | None = None
        self._usage: object = None
        self._trace: str | None = None

    def feed(self, data: bytes) -> Sequence[ChatEvent]:
        if not self._streaming:
            self._parts.append(data)
            return ()
        return self._release(self._read(data))

    def close(self) -> Sequence[ChatEvent]:
        """Raises ``StreamCut`` for a response without its end, ``UpstreamBroken`` for an invalid response."""
        if not self._streaming:
            events = self._release(self._whole(b"".join(self._parts)))
        elif self._events is not None:
            events = self._release(self._block(self._events.close()))
        else:
            events = []
        return events if self._failed else [*events, *self._end()]

    # --- Bytes to objects ---

    def _whole(self, data: bytes) -> Iterator[ChatEvent]:
        try:
            value = load_json(data)
        except ValueError:
            raise UpstreamBroken("The upstream's response is not a Gemini response.") from None
        for entry in value if isinstance(value, list) else [value]:
            yield from self._object(entry)

    def _read(self, data: bytes) -> Iterator[ChatEvent]:
        """The first character distinguishes an array or a bare object from an event stream."""
        if self._events is None and self._array is None:
            data = self._bytes + data
            start = data.lstrip(_BLANK)[:1]
            if not start:
                self._bytes = data
                return
            if start in (b"[", b"{"):
                self._array = ArraySplitter(MAX_EVENT_BYTES)
            else:
                self._events = sse.EventSplitter(MAX_EVENT_BYTES)
        if self._array is not None:
            for raw in self._array.feed(data):
                yield from self._json(raw)
        elif self._events is not None:
            yield from self._block(self._events.feed(data))

    def _block(self, block: bytes) -> Iterator[ChatEvent]:
        for raw in sse.split(block):
            event = sse.parse(raw)
            if event is None:
                if raw.lstrip(_BLANK)[:1] in (b"{", b"["):  # a bare error, without ``data:``
                    yield from self._json(raw)
            elif not event.data.startswith(b"[DONE]"):
                yield from self._json(event.data)

    def _json(self, data: bytes) -> Iterator[ChatEvent]:
        try:
            value = load_json(data)
        except ValueError:
            self._unreadable = True  # a single unreadable event is skipped, as gemini-cli does
            return
        yield from self._object(value)

    # --- Objects to events ---

    def _object(self, value: object) -> Iterator[ChatEvent]:
        if self._failed:
            return
        error = error_of(value)
        if error is not None:
            self._failed = True
            yield _failure(error)
            return
        if not isinstance(value, dict):
            return
        inner = value
        if "candidates" not in value and isinstance(value.get("traceId"), str):
            self._trace = value["traceId"]
        if "candidates" not in value and isinstance(value.get("response"), dict):
            inner = value["response"]
        yield from self._response(inner)

    def _response(self, response: Mapping[str, object]) -> Iterator[ChatEvent]:
        if not self._started and ("candidates" in response or "responseId" in response):
            self._started = True
            response_id, model = response.get("responseId") or self._trace, response.get("modelVersion")
            self._seed = f"{self._seed}\0{response_id}"
            yield Start(
                id=response_id if isinstance(response_id, str) else None,
                model=model if isinstance(model, str) else None,
                created=created_of(response.get("createTime")),
            )
        feedback = response.get("promptFeedback")
        if isinstance(feedback, dict) and feedback:
            yield Carried(dialect=NAME, payload={"promptFeedback": feedback})
            if feedback.get("blockReason"):
                self._blocked = dict(feedback)
        candidates = response.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                index = candidate.get("index")
                index = index if isinstance(index, int) else 0
                state = self._candidates.get(index)
                if state is None:
                    state = self._candidates[index] = Candidate(index, self._names, self._seed)
                yield from state.read(candidate)
        found = response.get("usageMetadata")
        if found and found != self._usage:
            usage = decode_usage(found)
            if usage is not None:
                self._usage = found
                yield UsageReport(usage=usage)

    def _release(self, events: Iterable[ChatEvent]) -> list[ChatEvent]:
        """Hold back all events until there is something to deliver."""
        if self._delivered:
            return list(events)
        for event in events:
            self._held.append(event)
            if isinstance(event, Failed):
                self._held = []
                return [event]
            self._delivered = self._delivered or _deliverable(event)
        if not self._delivered:
            return []
        held, self._held = self._held, []
        return held

    def _end(self) -> list[ChatEvent]:
        """The final events; ``Failed`` if there was nothing to deliver."""
        held, self._held = self._held, []
        if self._blocked is not None and not self._candidates:
            return [*held, *_blocked(self._blocked)]
        if not self._candidates:
            if self._unreadable:
                raise UpstreamBroken("The upstream sent an event that is not a JSON object.")
            if self._streaming:
                raise StreamCut("The upstream's response ended before it was complete.")
            return [Failed(message="The upstream sent an empty response.", status=502, code="empty_response")]
        if self._streaming and not all(c.word for c in self._candidates.values()):
            raise StreamCut("The upstream's response ended before it was complete.")
        finished = ending(self._candidates.values())
        return [finished] if isinstance(finished, Failed) else [*held, *finished]


def _deliverable(event: ChatEvent) -> bool:
    match event:
        case TextDelta() | RefusalDelta() | CallStart():
            return True
        case ReasoningDelta(text=text):
            return bool(text)
        case Carried(dialect=dialect):
            return dialect != NAME
        case _:
            return False


def _blocked(feedback: JsonObject) -> list[ChatEvent]:
    reason = str(feedback["blockReason"])
    more = feedback.get("blockReasonMessage")
    text = f"The prompt was blocked: {reason}." + (f" {more}" if isinstance(more, str) and more else "")
    return [RefusalDelta(text=text), Finish(reason="content_filter", detail=reason)]


def _failure(error: JsonObject) -> Failed:
    status = error.get("status")
    message = error.get("message")
    return Failed(
        message=message if isinstance(message, str) and message else "The upstream reported an error.",
        status=status_of(error),
        type=status if isinstance(status, str) else None,
        extra={name: error[name] for name in ("status", "details") if name in error},
    )
