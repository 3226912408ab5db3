"""Reads usage, errors and the end of a relayed stream of chat or completions."""

from __future__ import annotations

import re

from proxy_core import sse
from proxy_core.dialects.common import load_object
from proxy_core.dialects.openai_chat.errors import failure_of
from proxy_core.dialects.openai_chat.usage import decode_usage
from proxy_core.interfaces import ResponseContext
from proxy_core.messages import UpstreamFailure, Usage

# A key followed by a value other than null. Quotes inside JSON strings are escaped, so a match is a
# real key; the value may follow on the next ``data:`` line of the same event.
_MARK = re.compile(rb'"(?:usage|error|finish_reason)"(?:\s|data:)*:(?:\s|data:)*[^n\s]|data: ?\[DONE\]')
_KEYS = (b'"usage"', b'"error"', b'"finish_reason"')
_NULL = (b":null", b": null")


def _first_mark(block: bytes) -> int:
    """Where the first mark is, or -1. Searching for plain bytes takes a fraction of the time that the pattern would."""
    done = _MARK.search(block, max(0, at - 6)) if (at := block.find(b"[DONE]")) >= 0 else None
    first = done.start() if done is not None else len(block)
    for key in _KEYS:
        at = block.find(key, 0, first)
        if at < 0 or block.count(key, at) == block.count(key + b":null", at) + block.count(key + b": null", at):
            continue
        while at >= 0:
            end = at + len(key)
            if not block.startswith(_NULL, end) and _MARK.match(block, at):
                first = at
                break
            at = block.find(key, end, first)
    return first if first < len(block) else -1


class OpenAIUsageTap:
    """Reads a relayed OpenAI stream (chat or completions).

    Events without a mark are not parsed. With ``strip_usage`` (the proxy requested usage, the client
    did not) an event that carries usage and no choices is left out; nothing else is changed.
    """

    __slots__ = ("_done", "_finished", "_provider", "_strip", "_wanted", "failure", "usage")

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._strip = strip_usage
        self._wanted = context.expected_choices
        self._finished: set[str] = set()
        self._done = False
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        """``[DONE]``, or a finish reason for every choice, because some vendors send no ``[DONE]``."""
        return self._done or len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        mark = _first_mark(block)
        if mark < 0:
            return block
        # Events before the marked one are not read individually.
        start = block.rfind(b"\n\n", 0, mark) + 2
        start = 0 if start == 1 else start
        kept = [block[:start]]
        for event in sse.split(block[start:]):
            if _first_mark(event) >= 0:
                keep = self._look(event)
                if self.failure is not None:
                    break
                if not keep:
                    continue
            kept.append(event)
        return b"".join(kept)

    def close(self) -> bytes:
        return b"" if self._done else sse.DONE

    def _look(self, raw: bytes) -> bool:
        """Read one event; False if the client must not receive it."""
        event = sse.parse(raw)
        if event is None:
            return True
        if event.data.startswith(b"[DONE]"):
            self._done = True
            return True
        chunk = load_object(event.data)
        if chunk is None:
            return True
        if chunk.get("error"):
            self.failure = failure_of(self._provider, chunk)
            return False
        choices = chunk.get("choices")
        self.usage = decode_usage(chunk.get("usage")) or self.usage
        if isinstance(choices, list):
            self._finished.update(
                str(c.get("index", 0)) for c in choices if isinstance(c, dict) and c.get("finish_reason") is not None
            )
        return not (self._strip and choices == [] and chunk.get("usage"))
