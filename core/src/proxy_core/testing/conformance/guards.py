"""Cases for sanitizers, redactors and log sinks."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from proxy_core.errors import ProxyError
from proxy_core.interfaces import LogSink, ProxyRequest, Redactor, Sanitizer
from proxy_core.messages import (
    CallDelta,
    CallEnd,
    CallStart,
    ChatEvent,
    Failed,
    Finish,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)
from proxy_core.testing.conformance.case import Case, NotApplicable, expect, returned

_TEXT = "The quick brown fox wrote to fox@example.com, twice: héllo."
_PARTS = [{"type": "text", "text": _TEXT}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
_BODIES: Sequence[dict[str, Any]] = (
    {"messages": [{"role": "user", "content": _TEXT}]},
    {"messages": [{"role": "user", "content": _PARTS}]},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": [_CALL]}]},
    {"messages": [{"role": "tool", "tool_call_id": "c1", "content": "5"}], "tools": []},
    {"messages": []},
    {"input": "text of another format", "unknown": {"deep": [[None, True, 1.5]]}},
    {},
)


#: Texts without anything in common: whatever a filter looks for, it is not in all of them.
_TEXTS = (_TEXT, "Yes.", "  indented, with 42 numbers\n\n", "日本語のテキスト")
_OTHERS: Sequence[ChatEvent] = (
    Start(id="r", model="m"),
    CallStart(call=0, id="c1", name="look"),
    CallDelta(call=0, arguments='{"a": 1}'),
    CallEnd(call=0),
    UsageReport(usage=Usage(prompt=3, completion=2)),
    Failed(message="The engine is overloaded."),
)


class SanitizerSubject(Struct, frozen=True, kw_only=True):
    """``bodies`` are more requests of a client that it is tried with."""

    sanitizer: Sanitizer
    bodies: Sequence[dict[str, Any]] = ()


def _request(body: dict[str, Any], *, stream: bool = False) -> ProxyRequest:
    given = {"model": "p/m", "stream": stream, **body}
    return ProxyRequest(id="r", client="c", dialect="openai_chat", model="p/m", stream=stream, body=given)


async def _leaves_the_body_alone(subject: SanitizerSubject) -> None:
    change = subject.sanitizer.request
    if change is None:
        raise NotApplicable("it has no filter for requests")
    for body in (*_BODIES, *subject.bodies):
        request = _request(copy.deepcopy(body))
        before = json.dumps(request.body, sort_keys=True)
        try:
            found = change(request)
        except ProxyError:
            continue
        except Exception as error:
            raise AssertionError(f"{body} makes it raise {error!r}; a refusal is a ProxyError") from error
        same = json.dumps(request.body, sort_keys=True) == before
        expect(same, "it changed the request's body in place; return request.with_body(...) with a copy")
        changed = returned(found, ProxyRequest, "it")
        expect(json.dumps(changed.body) is not None, "its body is not JSON")


def _filtered(subject: SanitizerSubject, events: Sequence[Any]) -> list[ChatEvent]:
    change, make = subject.sanitizer.request, subject.sanitizer.events
    request = _request(copy.deepcopy(_BODIES[0]), stream=True)
    event_filter = None if make is None else make(change(request) if change is not None else request)
    if event_filter is None:
        raise NotApplicable("it has no filter for this response")
    out = [made for event in events for made in event_filter.feed(event)]
    return [*out, *event_filter.close()]


def _spoken(events: Sequence[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def _filters_any_split(subject: SanitizerSubject) -> None:
    whole = _spoken(_filtered(subject, [TextDelta(text=_TEXT), Finish(reason="stop")]))
    for at in range(1, len(_TEXT)):
        parts = [TextDelta(text=_TEXT[:at]), TextDelta(text=_TEXT[at:]), Finish(reason="stop")]
        split = _spoken(_filtered(subject, parts))
        expect(split == whole, f"{_TEXT!r}, split after {at} characters, becomes {split!r}, not {whole!r}")
    by_character = _spoken(_filtered(subject, [*(TextDelta(text=c) for c in _TEXT), Finish(reason="stop")]))
    expect(by_character == whole, f"one character at a time it becomes {by_character!r}, not {whole!r}")


async def _releases_held_text(subject: SanitizerSubject) -> None:
    whole = _spoken(_filtered(subject, [TextDelta(text=_TEXT), Finish(reason="stop")]))
    cut = _spoken(_filtered(subject, [TextDelta(text=_TEXT)]))
    expect(cut == whole, f"without a finish, close() releases {cut!r}, not {whole!r}")


async def _lets_text_through(subject: SanitizerSubject) -> None:
    """A filter that replaces something changes a text; only one that swallows it leaves no more than a beginning."""
    for text in _TEXTS:
        left = _spoken(_filtered(subject, [TextDelta(text=text), Finish(reason="stop")]))
        if left == text or not text.startswith(left):
            return
    raise AssertionError(f"it swallows text: of {text!r} and of any other text, {left!r} is all that leaves it")


async def _lets_other_events_through(subject: SanitizerSubject) -> None:
    left = {type(event) for event in _filtered(subject, _OTHERS)}
    missing = [type(event).__name__ for event in _OTHERS if type(event) not in left]
    expect(not missing, f"it swallows {', '.join(missing)}; feed returns [event] for each event that it does not know")


async def _passes_the_finish(subject: SanitizerSubject) -> None:
    events = _filtered(subject, [TextDelta(text="hi"), Finish(reason="stop")])
    finishes = sum(isinstance(event, Finish) for event in events)
    expect(finishes == 1, f"{finishes} finishes leave it, one came in")
    finished = next(at for at, event in enumerate(events) if isinstance(event, Finish))
    expect(not _spoken(events[finished:]), "text follows the finish: release held text before it")


async def _keeps_responses_apart(subject: SanitizerSubject) -> None:
    once = _spoken(_filtered(subject, [TextDelta(text=_TEXT), Finish(reason="stop")]))
    again = _spoken(_filtered(subject, [TextDelta(text=_TEXT), Finish(reason="stop")]))
    expect(once == again, f"the second response becomes {again!r}, the first {once!r}: the filter keeps state")


def _sanitizing(name: str, why: str, run: Any) -> Case[SanitizerSubject]:
    return Case(name=name, group="sanitizer", why=why, run=run)


SANITIZER_CASES: tuple[Case[SanitizerSubject], ...] = (
    _sanitizing(
        "any request, unchanged in place",
        "What it raises but a ProxyError is a 500; a body changed in place changes records and other attempts.",
        _leaves_the_body_alone,
    ),
    _sanitizing(
        "any split of the text",
        "Models send text in pieces of any size; what is searched for lies across two of them.",
        _filters_any_split,
    ),
    _sanitizing(
        "text is not swallowed", "A text that never arrives looks like a model that is silent.", _lets_text_through
    ),
    _sanitizing(
        "other events pass",
        "Tool calls, usage and errors are events too; an agent without its calls waits for nothing.",
        _lets_other_events_through,
    ),
    _sanitizing("held text is released", "Text that stays behind is missing from the response.", _releases_held_text),
    _sanitizing("one finish, at the end", "Clients stop reading at the finish.", _passes_the_finish),
    _sanitizing("responses are kept apart", "State shared between responses mixes up clients.", _keeps_responses_apart),
)


# --- Redactors ---------------------------------------------------------------------------


class RedactorSubject(Struct, frozen=True, kw_only=True):
    """``secrets`` are examples of what it must remove."""

    redactor: Redactor
    secrets: Sequence[str] = ()


_RECORDS: Sequence[dict[str, Any]] = (
    {"id": "r1", "status": 200, "request": {"messages": [{"role": "user", "content": _TEXT}]}, "duration_s": 0.5},
    {"id": "r2", "nested": [[{"deep": {"deeper": [None, True, 1.5, "text"]}}]], "": ""},
    {"id": "r3", "text": '{"escaped": "json"}', "long": "x" * 100_000},
    {},
)


async def _redacts_any_record(subject: RedactorSubject) -> None:
    for record in _RECORDS:
        given = copy.deepcopy(record)
        try:
            redacted = subject.redactor.redact(given)
        except Exception as error:
            raise AssertionError(f"it raises {error!r}, so the record's content is withheld") from error
        expect(isinstance(redacted, dict), f"it returned {type(redacted).__name__}, not an object")
        json.dumps(redacted)
        expect(given == record, "it changed the record in place; the next redactor and sink need the original")


async def _redacts_twice(subject: RedactorSubject) -> None:
    for record in _RECORDS:
        once = subject.redactor.redact(copy.deepcopy(record))
        expect(subject.redactor.redact(copy.deepcopy(once)) == once, f"redacted twice, a record changes: {once}")


async def _removes_secrets(subject: RedactorSubject) -> None:
    if not subject.secrets:
        raise NotApplicable("give examples of what it removes: secrets")
    for secret in subject.secrets:
        places: list[dict[str, Any]] = [
            {"a": secret},
            {"a": [{"b": f"before {secret} after"}]},
            {"a": json.dumps({"b": secret})},
        ]
        for place in places:
            left = json.dumps(subject.redactor.redact(copy.deepcopy(place)))
            expect(secret not in left, f"{secret!r} is still in {left}")


def _redacting(name: str, why: str, run: Any) -> Case[RedactorSubject]:
    return Case(name=name, group="redactor", why=why, run=run)


REDACTOR_CASES: tuple[Case[RedactorSubject], ...] = (
    _redacting(
        "any record, unchanged in place",
        "If it raises, all but the record's ids, status and times is lost.",
        _redacts_any_record,
    ),
    _redacting("twice is once", "What it leaves behind may be redacted again, by another process.", _redacts_twice),
    _redacting("what it removes, at any depth", "A secret in a list or a JSON text is a secret.", _removes_secrets),
)


# --- Sinks -------------------------------------------------------------------------------


class SinkSubject(Struct, frozen=True, kw_only=True):
    """``sink`` is open; it is closed by the last case that needs it to be."""

    sink: LogSink


async def _writes_batches(subject: SinkSubject) -> None:
    batches: Sequence[Sequence[bytes]] = ([b'{"id":"1"}'], [], ['{"id":"é"}'.encode()] * 500)
    for batch in batches:
        before = list(batch)
        await subject.sink.write(batch)
        expect(list(batch) == before, "it changed the batch, which other sinks get, too")
    await _close(subject)


async def _closes(subject: SinkSubject) -> None:
    await subject.sink.write([b'{"id":"1"}'])
    await _close(subject)


async def _close(subject: SinkSubject) -> None:
    if subject.sink.close is not None:
        await subject.sink.close()


SINK_CASES: tuple[Case[SinkSubject], ...] = (
    Case(name="any batch", group="sink", why="Batches have one line or hundreds.", run=_writes_batches),
    Case(name="closed after its last batch", group="sink", why="What was written must not wait for more.", run=_closes),
)
