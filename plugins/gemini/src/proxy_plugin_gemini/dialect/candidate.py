"""One candidate of a response as it grows: turns parts into events, and decides how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from proxy_core import (
    CallDelta,
    CallEnd,
    CallStart,
    Carried,
    ChatEvent,
    Failed,
    Finish,
    InlineData,
    Opaque,
    ReasoningDelta,
    TextDelta,
)
from proxy_core.dialects.common import json_bytes
from proxy_core.dialects.openai_chat import media_event
from proxy_plugin_gemini.dialect.citations import Cited
from proxy_plugin_gemini.dialect.common import FAILURES, MAKER, NAME, REASONS
from proxy_plugin_gemini.dialect.extras import candidate_extras, code_text
from proxy_plugin_gemini.dialect.names import NameTable

_PLAIN_CANDIDATE = frozenset({"content", "finishReason", "index"})


class Candidate:
    """Text, thoughts and calls so far. A call arrives whole, in one part."""

    __slots__ = ("_cited", "_ids", "_names", "_seed", "_text", "calls", "choice", "message", "usable", "word")

    def __init__(self, choice: int, names: NameTable, seed: str) -> None:
        self.choice = choice
        self._names = names
        self._seed = seed
        self._ids: set[str] = set()
        self._text: list[str] = []
        #: The sources so far, as a stream may repeat them.
        self._cited: set[Cited] = set()
        self.calls = 0
        #: There is something that a client can use; thoughts alone do not count.
        self.usable = False
        self.word: str | None = None
        self.message: str | None = None

    def read(self, candidate: Mapping[str, Any]) -> Iterator[ChatEvent]:
        word = candidate.get("finishReason")
        if isinstance(word, str) and word != "FINISH_REASON_UNSPECIFIED":
            self.word = word
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        said = (event for part in parts or () if isinstance(part, dict) for event in self._part(part))
        if candidate.keys() <= _PLAIN_CANDIDATE:
            yield from said
            return
        message = candidate.get("finishMessage")
        self.message = message if isinstance(message, str) else self.message
        yield from self._with_extras(list(said), candidate)

    def _with_extras(self, said: list[ChatEvent], candidate: Mapping[str, Any]) -> Iterator[ChatEvent]:
        """Sources directly after the text that they support: what follows it begins something else for many clients."""
        end = max((at for at, event in enumerate(said, 1) if isinstance(event, TextDelta)), default=0)
        yield from said[:end]
        yield from candidate_extras(candidate, self.choice, self._text, self._cited)
        yield from said[end:]

    def _part(self, part: Mapping[str, Any]) -> Iterator[ChatEvent]:
        signature = part.get("thoughtSignature")
        opaque = Opaque(maker=MAKER, payload=signature) if isinstance(signature, str) and signature else None
        text = part.get("text")
        if isinstance(text, str):
            if not text:
                pass
            elif part.get("thought") is True:
                yield ReasoningDelta(text=text, choice=self.choice)
            else:
                self.usable = True
                self._text.append(text)
                yield TextDelta(text=text, choice=self.choice)
        elif isinstance(part.get("functionCall"), dict):
            yield from self._call(part["functionCall"], opaque)
            return
        elif isinstance(part.get("inlineData"), dict):
            yield from self._media(part)
        else:
            code = code_text(part)
            if code is not None:
                self.usable = True
                self._text.append(code)
                yield TextDelta(text=code, choice=self.choice)
        if opaque is not None:
            yield ReasoningDelta(text="", opaque=opaque, choice=self.choice)

    def _media(self, part: Mapping[str, Any]) -> Iterator[ChatEvent]:
        kind, data = part["inlineData"].get("mimeType"), part["inlineData"].get("data")
        if isinstance(kind, str) and isinstance(data, str):
            self.usable = True
            yield Carried(dialect=NAME, payload={"part": part}, choice=self.choice)
            yield media_event(InlineData(media_type=kind, data=data), self.choice)

    def _call(self, call: Mapping[str, Any], opaque: Opaque | None) -> Iterator[ChatEvent]:
        name, given = call.get("name"), call.get("args")
        if not isinstance(name, str) or not name:
            return
        args = given if isinstance(given, dict) else {}
        number, self.calls, self.usable = self.calls, self.calls + 1, True
        try:
            text = json_bytes(args).decode()
        except ValueError:  # NaN or infinity: keep the model's own text
            text = json.dumps(args)
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in self._ids:
            unique = f"{self._seed}\0{self.choice}\0{number}\0{name}\0{text}"
            call_id = f"call_{sha256(unique.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
        self._ids.add(call_id)
        known = self._names.to_client(name)
        yield CallStart(
            call=number,
            id=call_id,
            name=known.name,
            kind=known.kind,
            namespace=known.namespace,
            opaque=opaque,
            choice=self.choice,
        )
        if known.kind == "custom" and isinstance(args.get("input"), str):
            text = args["input"]
        yield CallDelta(call=number, arguments=text, choice=self.choice)
        yield CallEnd(call=number, choice=self.choice)

    def finish(self) -> Finish | Failed:
        word = self.word or "STOP"
        reason = REASONS.get(word)
        if reason in ("length", "content_filter"):
            return Finish(reason=reason, detail=None if word == "MAX_TOKENS" else word, choice=self.choice)
        if not self.usable or word in FAILURES:
            if word == "STOP":
                return Failed(message="The upstream sent an empty response.", status=502, code="empty_response")
            more = f": {self.message}" if self.message else "."
            return Failed(message=f"The upstream ended its response with {word}{more}", status=502, code=word.lower())
        detail = None if word == "STOP" else word
        return Finish(reason="tool_calls" if self.calls else "stop", detail=detail, choice=self.choice)


def ending(candidates: Iterable[Candidate]) -> list[ChatEvent] | Failed:
    """Each candidate's finish. The response fails only if all candidates fail."""
    ends = [(c.choice, c.finish()) for c in candidates]
    failures = [end for _, end in ends if isinstance(end, Failed)]
    if failures and len(failures) == len(ends):
        return failures[0]
    return [
        Finish(reason="error", detail=(end.code or "").upper(), choice=choice) if isinstance(end, Failed) else end
        for choice, end in ends
    ]
