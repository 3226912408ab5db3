"""Reads usage, errors, the first content and the end of a relayed stream of chat or completions."""

from __future__ import annotations

import re

from proxy_core import sse
from proxy_core.dialects.common import first_of_list, load_object
from proxy_core.dialects.model_name import ModelName
from proxy_core.dialects.openai_chat.errors import error_of, failure_of
from proxy_core.dialects.openai_chat.finish import only_fails, reason_of, says, silent_failure
from proxy_core.dialects.openai_chat.usage import usage_in
from proxy_core.dialects.text_events import TextEvents
from proxy_core.interfaces import ResponseContext
from proxy_core.messages import JsonObject, UpstreamFailure, Usage

# A key followed by a value other than null. Quotes inside JSON strings are escaped, so a match is a
# real key; the value may follow on the next ``data:`` line of the same event.
_MARK = re.compile(
    rb'"(?:usage|error|finish_reason|prompt_tokens)"(?:\s|data:)*:(?:\s|data:)*[^n\s]'
    rb'|"error"(?=\s*[,}])|event: ?error|data: ?\[DONE\]'
)
_KEYS = (b'"usage"', b'"error"', b'"finish_reason"', b'"prompt_tokens"')
_NULL = (b":null", b": null")


def _first_mark(block: bytes) -> int:
    """Where the first mark is, or -1. Searching for plain bytes takes a fraction of the time that the pattern would."""
    first = len(block)
    for plain, before in ((b"[DONE]", 6), (b"event:", 0)):
        at = block.find(plain, 0, first)
        mark = _MARK.search(block, max(0, at - before)) if at >= 0 else None
        first = min(first, mark.start()) if mark is not None else first
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

    Up to the first content every event is read; afterwards, only those with a mark. With ``strip_usage`` (the proxy
    requested usage, the client did not) an event with usage and no choices is left out; besides this, only the model's
    name is changed, to the client's.
    """

    __slots__ = (
        "_finished",
        "_name",
        "_provider",
        "_strip",
        "_texts",
        "_wanted",
        "committed",
        "ended",
        "failure",
        "usage",
    )

    def __init__(self, provider: str, context: ResponseContext, strip_usage: bool) -> None:
        self._provider = provider
        self._strip = strip_usage
        self._wanted = context.expected_choices
        self._name = ModelName("model", context.model)
        self._texts = TextEvents()
        self._finished: set[str] = set()
        self.committed = False
        self.ended = False
        self.usage: Usage | None = None
        self.failure: UpstreamFailure | None = None

    @property
    def complete(self) -> bool:
        """``[DONE]``, or a finish reason for every choice, because some vendors send no ``[DONE]``."""
        return self.ended or len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        if self.ended:
            return b""
        if not self.committed:
            return self._begin(block)
        passed, rest = self._texts.relay(block)
        return passed + self._read_marked(rest) if rest else passed

    def _begin(self, block: bytes) -> bytes:
        """Read every event up to the first content."""
        kept: list[bytes] = []
        read = 0
        for event in sse.split(block):
            read += len(event)
            if not self._pass(event, kept):
                break
            if self.committed:
                passed = self._put(event) if _first_mark(event) < 0 else self._name.put(event)
                return self._name.put(b"".join(kept[:-1])) + passed + self.feed(block[read:])
        return self._name.put(b"".join(kept))

    def _put(self, unmarked: bytes) -> bytes:
        passed = self._name.put(unmarked)
        self._texts.learn(unmarked, passed)
        return passed

    def _read_marked(self, block: bytes) -> bytes:
        """Read only the events with a mark."""
        mark = _first_mark(block)
        if mark < 0:
            return self._put(block)
        start = block.rfind(b"\n\n", 0, mark) + 2
        start = 0 if start == 1 else start
        kept = [block[:start]]
        for number, event in enumerate(sse.split(block[start:])):
            if number and _first_mark(event) < 0:
                kept.append(event)
            elif not self._pass(event, kept):
                break
        return self._name.put(b"".join(kept))

    def close(self) -> bytes:
        return b"" if self.ended else sse.DONE

    def _pass(self, event: bytes, kept: list[bytes]) -> bool:
        """Read one event and keep it if the client may receive it; False if nothing may follow it."""
        keep = self._look(event)
        if keep and self.failure is None:
            kept.append(event)
        return self.failure is None and not self.ended

    def _look(self, raw: bytes) -> bool:
        """Read one event; False if the client must not receive it."""
        event = sse.parse(raw)
        if event is None or not event.data.strip():
            return True
        if event.data.startswith(b"[DONE]"):
            self._end()
            return True
        chunk = load_object(event.data)
        if chunk is None:
            self._unreadable(event)
            return True
        error = chunk if event.name == "error" and not chunk.get("error") else error_of(chunk)
        if error is not None:
            self.failure = failure_of(self._provider, error)
            return False
        self._read(chunk)
        return bool(not self._strip or chunk.get("choices") or not chunk.get("usage"))

    def _read(self, chunk: JsonObject) -> None:
        self.usage = usage_in(chunk, self.usage)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                if not self.committed and only_fails(choice):
                    self.failure = failure_of(self._provider, silent_failure(choice))
                    return
                if reason_of(choice.get("finish_reason")) is not None:
                    self._finished.add(str(choice.get("index", 0)))
                self.committed = self.committed or says(choice) or bool(choice.get("finish_reason"))

    def _end(self) -> None:
        self.ended = True
        if not self.committed:  # not one answer
            self.failure = UpstreamFailure(provider=self._provider, transport="unreadable")

    def _unreadable(self, event: sse.Event) -> None:
        """An event that is not a JSON object: text of an error before the first content, or what it is, afterwards."""
        listed = first_of_list(event.data)
        if listed is not None and (error := error_of(listed)) is not None:
            self.failure = failure_of(self._provider, error)
        elif event.name == "error":
            self.failure = failure_of(self._provider, {"message": event.data.decode("utf-8", "replace")})
        elif not self.committed:
            self.failure = UpstreamFailure(provider=self._provider, body=event.data[:65536])
