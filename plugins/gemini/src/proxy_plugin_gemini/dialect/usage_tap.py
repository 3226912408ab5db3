"""Watch a relayed stream for usage, errors and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import JsonObject, ResponseContext, UpstreamFailure, Usage, sse
from proxy_core.dialects.common import load_object
from proxy_core.dialects.model_name import ModelName
from proxy_plugin_gemini.dialect.common import decode_usage
from proxy_plugin_gemini.dialect.errors import error_of, failure_of

_MARKS = (b'"finishReason"', b'"promptFeedback"', b'"error"')
_USAGE = b'"usageMetadata"'


class GeminiUsageTap:
    """Watches a relayed stream without changing it, except for the model's name."""

    __slots__ = ("_finished", "_name", "_provider", "_unread", "_usage", "_wanted", "committed", "failure")

    #: The format has no end marker.
    ended = False

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._wanted = context.expected_choices
        self._name = ModelName("modelVersion", context.model)
        self._finished: set[int] = set()
        self.committed = False
        self._usage: Usage | None = None
        #: Google reports the usage so far in every event; only the last one counts.
        self._unread = b""
        self.failure: UpstreamFailure | None = None

    @property
    def usage(self) -> Usage | None:
        unread, self._unread = self._unread, b""
        for raw in sse.split(unread):
            self._usage = decode_usage((_chunk(raw) or {}).get("usageMetadata")) or self._usage
        return self._usage

    @property
    def complete(self) -> bool:
        return len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        return self._name.put(self._passed(block))

    def close(self) -> bytes:
        return b""

    def _passed(self, block: bytes) -> bytes:
        if _USAGE in block:
            self._unread = block
        if self.committed and not any(mark in block for mark in _MARKS):
            return block
        passed = 0
        for raw in sse.split(block):
            self._look(raw)
            if self.failure is not None:
                return block[:passed]
            passed += len(raw)
        return block

    def _look(self, raw: bytes) -> None:
        if self.committed and not any(mark in raw for mark in _MARKS):
            return
        chunk = _chunk(raw)
        if chunk is None:
            return
        error = None if "candidates" in chunk else error_of(chunk)
        if error is not None:
            self.failure = failure_of(self._provider, error)
            return
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                if candidate.get("finishReason"):
                    index = candidate.get("index")
                    self._finished.add(index if isinstance(index, int) else 0)
                self.committed = self.committed or has_content(candidate)
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._finished.update(range(self._wanted))
            self.committed = True


def _chunk(raw: bytes) -> JsonObject | None:
    event = sse.parse(raw)
    return load_object(raw if event is None else event.data)


def has_content(candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate says something or ends: an empty text does not."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    said = isinstance(parts, list) and any(isinstance(part, dict) and any(part.values()) for part in parts)
    return said or bool(candidate.get("finishReason"))
