"""Watch a relayed stream for usage, errors and its end."""

from __future__ import annotations

from proxy_core import ResponseContext, UpstreamFailure, Usage, sse
from proxy_core.dialects.common import load_object
from proxy_plugin_gemini.dialect.common import decode_usage
from proxy_plugin_gemini.dialect.errors import error_of, failure_of

_MARKS = (b'"usageMetadata"', b'"finishReason"', b'"promptFeedback"', b'"error"')


class GeminiUsageTap:
    """Watches a relayed stream without changing it."""

    __slots__ = ("_finished", "_provider", "_wanted", "failure", "usage")

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._wanted = context.expected_choices
        self._finished: set[object] = set()
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        return len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        if not any(mark in block for mark in _MARKS):
            return block
        passed = 0
        for raw in sse.split(block):
            self._look(raw)
            if self.failure is not None:
                return block[:passed]
            passed += len(raw)
        return block

    def close(self) -> bytes:
        return b""

    def _look(self, raw: bytes) -> None:
        if not any(mark in raw for mark in _MARKS):
            return
        event = sse.parse(raw)
        chunk = load_object(raw if event is None else event.data)
        if chunk is None:
            return
        error = None if "candidates" in chunk else error_of(chunk)
        if error is not None:
            self.failure = failure_of(self._provider, error)
            return
        self.usage = decode_usage(chunk.get("usageMetadata")) or self.usage
        candidates = chunk.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict) and candidate.get("finishReason"):
                self._finished.add(candidate.get("index", 0))
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._finished.update(range(self._wanted))
