"""Cases for dialects: what their clients send, and what they are answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from proxy_core.errors import BadRequest, CapacityExhausted, InternalError, ProxyError, UpstreamBroken
from proxy_core.interfaces import Dialect, ProxyRequest
from proxy_core.messages import (
    CallDelta,
    CallEnd,
    CallStart,
    ChatEvent,
    Finish,
    Start,
    TextDelta,
    Usage,
    UsageReport,
)
from proxy_core.testing.conformance.case import Case, NotApplicable, expect

_ODD: Sequence[Any] = (
    {},
    {"messages": None},
    {"messages": "text"},
    {"messages": [1, None, []]},
    {"messages": [{"role": 5, "content": {"a": [1]}}]},
    {"input": 5, "contents": "x"},
)
_TEXT: Sequence[ChatEvent] = (
    Start(id="up-1", model="m", created=1_700_000_000),
    TextDelta(text="hél"),
    TextDelta(text="lo"),
    Finish(reason="stop"),
    UsageReport(usage=Usage(prompt=3, completion=2)),
)
_CALLS: Sequence[ChatEvent] = (
    Start(id="up-1", model="m", created=1_700_000_000),
    CallStart(call=0, id="call_a", name="look"),
    CallDelta(call=0, arguments='{"a":1}'),
    CallEnd(call=0),
    CallStart(call=1, id="call_b", name="find"),
    CallDelta(call=1, arguments='{"b":2}'),
    CallEnd(call=1),
    Finish(reason="tool_calls"),
)


class DialectSubject(Struct, frozen=True, kw_only=True):
    """``requests`` are bodies that clients of the format send; each has a model."""

    dialect: Dialect
    requests: Sequence[Mapping[str, Any]] = field(default_factory=list)


async def _accepts_its_requests(subject: DialectSubject) -> None:
    for body in _samples(subject):
        subject.dialect.check(dict(body))
        if subject.dialect.decode is not None:
            expect(subject.dialect.decode(dict(body)).messages, f"decoded, {body} has no messages")


def _samples(subject: DialectSubject) -> Sequence[Mapping[str, Any]]:
    if not subject.requests:
        raise NotApplicable("give requests of its clients: requests")
    return subject.requests


async def _refuses_odd_requests(subject: DialectSubject) -> None:
    read: Sequence[Callable[[Any], Any]] = [subject.dialect.check, *filter(None, [subject.dialect.decode])]
    for body in _ODD:
        for function in read:
            try:
                function({"model": "m", **body})
            except BadRequest:
                break
            except Exception as error:
                raise AssertionError(
                    f"{body} makes {function} raise {error!r}; only a BadRequest is the client's"
                ) from error


async def _round_trip(subject: DialectSubject) -> None:
    decode, encode = subject.dialect.decode, subject.dialect.encode
    if decode is None or encode is None:
        raise NotApplicable("it is only relayed")
    for body in _samples(subject):
        chat = decode(dict(body))
        again = decode({**encode(chat), "model": body.get("model", "m")})
        said = [[type(part).__name__ for part in message.parts] for message in chat.messages]
        expect(
            said == [[type(part).__name__ for part in message.parts] for message in again.messages],
            f"encoded and decoded again, {body} has other messages",
        )


async def _encodes_errors(subject: DialectSubject) -> None:
    errors: Sequence[ProxyError] = (
        BadRequest("No.", param="x"),
        CapacityExhausted("Later.", retry_after_s=30),
        UpstreamBroken("Broken."),
        InternalError("A bug."),
    )
    for error in errors:
        encoded = subject.dialect.encode_error(error, "r1")
        expect(encoded.status == error.status, f"a {error.status} becomes a {encoded.status}")
        expect(isinstance(json.loads(encoded.body), dict), "an error's body is not a JSON object")
        expect(str(error).encode() in encoded.body, f"the error's message is not in {encoded.body!r}")
        told = subject.dialect.stream_error(error, "r1")
        expect(str(error).encode() in told, f"the error's message is not in {told!r}, which ends a stream")


def _encoded(subject: DialectSubject, events: Sequence[ChatEvent], groups: int, *, stream: bool) -> bytes:
    make = subject.dialect.encoder
    if make is None:
        raise NotApplicable("it is only relayed")
    body = {**_samples(subject)[0], "model": "m", "stream": stream}
    request = ProxyRequest(id="r1", client="c", dialect=subject.dialect.name, model="m", stream=stream, body=body)
    encoder = make(subject.dialect.context(request))
    pieces = [encoder.feed(events[at : at + groups]) for at in range(0, len(events), groups)]
    return b"".join(pieces) + encoder.close()


async def _encodes_any_grouping(subject: DialectSubject) -> None:
    for events in (_TEXT, _CALLS):
        for stream in (True, False):
            one, all_ = (_texts(_encoded(subject, events, groups, stream=stream)) for groups in (1, len(events)))
            expect(one == all_, f"fed one by one, the events become {one!r}, at once {all_!r}")


def _texts(data: bytes) -> list[str]:
    """What was said, without ids and times, which may differ."""
    return [
        word
        for word in ("hél", "lo", "look", "find")
        if json.dumps(word)[1:-1] in data.decode() or word in data.decode()
    ]


async def _reads_what_it_writes(subject: DialectSubject) -> None:
    if subject.dialect.decoder is None:
        raise NotApplicable("it is only spoken by clients")
    for stream in (True, False):
        data = _encoded(subject, _TEXT, 1, stream=stream)
        for size in (1, 7, len(data)):
            decoder = subject.dialect.decoder(stream)
            events = [e for at in range(0, len(data), size) for e in decoder.feed(data[at : at + size])]
            events += decoder.close()
            said = "".join(event.text for event in events if isinstance(event, TextDelta))
            finishes = sum(isinstance(event, Finish) for event in events)
            expect((said, finishes) == ("héllo", 1), f"it reads {said!r} with {finishes} finishes from what it wrote")


def _case(name: str, why: str, run: Any) -> Case[DialectSubject]:
    return Case(name=name, group="dialect", why=why, run=run)


DIALECT_CASES: tuple[Case[DialectSubject], ...] = (
    _case("its clients' requests", "They are what the format is for.", _accepts_its_requests),
    _case(
        "odd requests",
        "Any exception other than BadRequest becomes a 500 that does not say what to correct.",
        _refuses_odd_requests,
    ),
    _case("decoded and encoded", "What is lost on the way is missing at providers of another format.", _round_trip),
    _case("errors", "A client must read its errors, also in the middle of a stream.", _encodes_errors),
    _case("any grouping of events", "Events arrive one by one or many at once.", _encodes_any_grouping),
    _case("what it writes, it reads", "A proxy behind a proxy is an upstream of this format.", _reads_what_it_writes),
)
