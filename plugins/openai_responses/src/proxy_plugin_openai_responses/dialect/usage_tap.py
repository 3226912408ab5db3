"""Watches a relayed stream for its first content, usage, errors and end, and puts the client's name of the model in."""

from __future__ import annotations

from proxy_core import JsonObject, ResponseContext, UpstreamFailure, Usage, load_object, sse
from proxy_plugin_openai_responses.dialect.failed import error_in, error_of, failure_of
from proxy_plugin_openai_responses.dialect.model_name import renamed
from proxy_plugin_openai_responses.dialect.usage import decode_usage

#: In every event that matters after the first content, and in few others. Inside a string, the quotes are escaped.
_MARKS = (b'"response"', b'"error"')
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
#: Items that say nothing when they begin.
_SILENT = frozenset({"message", "reasoning"})


class ResponsesUsageTap:
    """Passes every event on, except for an error and what follows the end."""

    __slots__ = ("_model", "_provider", "committed", "ended", "failure", "usage")

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._model = context.model
        self.committed = False
        self.ended = False
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        return self.ended

    def feed(self, block: bytes) -> bytes:
        if self.committed and not self.ended and not any(mark in block for mark in _MARKS):
            return block
        kept: list[bytes] = []
        for raw in sse.split(block):
            if self.ended or self.failure is not None:
                break
            kept.append(self._pass(raw))
        return b"".join(kept)

    def close(self) -> bytes:
        return b""

    def _pass(self, raw: bytes) -> bytes:
        """Read one event and return what the client receives of it."""
        if self.committed and not any(mark in raw for mark in _MARKS):
            return raw
        event = sse.parse(raw)
        value = load_object(event.data) if event is not None else None
        if event is None or value is None:
            return raw
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else event.name or ""
        response = value.get("response")
        if isinstance(response, dict):
            return self._lifecycle(kind, response, raw)
        error = error_in({"type": kind, **value}) if "item" not in value else None
        if error is not None:
            self.failure = failure_of(self._provider, error)
            return b""
        self.committed = self.committed or _says(kind, value)
        return raw

    def _lifecycle(self, kind: str, response: JsonObject, raw: bytes) -> bytes:
        if kind in _ENDS:
            self.usage = decode_usage(response.get("usage")) or self.usage
            error = error_of({"status": "failed", **response} if kind == "response.failed" else response)
            if error is not None:
                self.failure = failure_of(self._provider, error)
                return b""
            self.ended = self.committed = True
        named = response.get("model")
        return renamed(raw, self._model) if isinstance(named, str) and named != self._model else raw


def _says(kind: str, event: JsonObject) -> bool:
    """Whether an event has content: the beginning of a message or of reasoning has none."""
    if kind.endswith(".delta"):
        return bool(event.get("delta"))
    item = event.get("item")
    if not isinstance(item, dict):
        return False
    return kind == "response.output_item.done" or str(item.get("type")) not in _SILENT
