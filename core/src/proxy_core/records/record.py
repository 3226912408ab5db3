"""A request record: one JSON object per request. Pure: a captured request in, JSON out.

Without a redactor a record has ids, times, counts and outcomes. With one it has headers, bodies
and error texts too. A streamed reply is put together into the message it amounts to, so that
nothing can hide by being split between two events; of the events themselves the record keeps
how many there were, and when which amount of bytes went out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proxy_core.dialects.common import load_object
from proxy_core.errors import ProxyError
from proxy_core.interfaces import Dialect, RequestRecord, ResponseContext
from proxy_core.messages import JsonObject, Usage
from proxy_core.records.capture import AttemptCapture, Capture
from proxy_core.rotation.explain import as_json

#: Headers that hold nothing but keys are not kept at all.
_KEYS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def bare(record: RequestRecord) -> JsonObject:
    """What may be kept of any request, redactor or not."""
    return {
        "id": record.id,
        "client": record.client,
        "dialect": record.dialect,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "error": record.error,
        "started_at": record.started_at.isoformat(timespec="milliseconds"),
        "first_event_s": _rounded(record.first_event_s),
        "duration_s": _rounded(record.duration_s),
    }


def explained(record: RequestRecord, *, words: bool = True) -> JsonObject:
    """How it was decided who is asked, and what came of it; with upstreams' ``words``, which are content."""
    attempts = [
        {
            "deployment": a.deployment,
            "credential": a.credential,
            "status": a.status,
            "fault": a.fault,
            "duration_s": _rounded(a.duration_s),
        }
        for a in record.attempts
    ]
    return {
        **bare(record),
        "model": record.model,
        "changed_by": list(record.changed_by),
        "decisions": [as_json(decision, words=words) for decision in record.decisions],
        "attempts": attempts,
        "usage": _usage(record.usage),
    }


def counted(record: RequestRecord, capture: Capture) -> JsonObject:
    """Everything that is not content."""
    found = {
        **explained(record, words=False),
        "request": {"path": capture.path, "bytes": capture.request_bytes},
        "reply": {"bytes": capture.reply_bytes},
    }
    if record.stream and record.status == 200:
        at_and_size = iter(capture.pieces)
        found["reply"]["pieces"] = [
            [_rounded(at), int(size)] for at, size in zip(at_and_size, at_and_size, strict=True)
        ]
    return found


def full(record: RequestRecord, capture: Capture) -> JsonObject:
    """With content. Whoever calls this passes the result through the redactors."""
    found = counted(record, capture) | explained(record)
    found["request"] |= {
        "headers": _headers(capture.headers),
        "body": _body(capture.request_body, capture.request_bytes),
    }
    for shown, attempt in zip(found["attempts"], record.attempts, strict=True):
        shown["message"] = attempt.message
    for kept in capture.attempts:
        # A request that ended in the middle of an attempt has no such attempt on record.
        if kept.number < len(found["attempts"]):
            found["attempts"][kept.number] |= _attempt(kept)
    reply = b"".join(capture.reply)
    if capture.error is not None:
        found["reply"]["error"] = capture.error
    if capture.reply_truncated:
        found["reply"]["truncated"] = True
    if reply:
        streamed = record.stream and record.status == 200
        found["reply"]["body"] = (
            aggregated(capture.dialect, record, reply) if streamed else _body(reply, capture.reply_bytes)
        )
    return found


def aggregated(dialect: Dialect, record: RequestRecord, stream: bytes) -> JsonObject | None:
    """The whole message that a stream of ``dialect`` amounts to, as far as it came."""
    if dialect.decoder is None or dialect.encoder is None:
        return None
    decoder = dialect.decoder(True)
    context = ResponseContext(
        id=record.id,
        model=record.model,
        stream=False,
        include_usage=True,
        created=int(record.started_at.timestamp()),
    )
    encoder = dialect.encoder(context)
    if dialect.condense is not None:
        stream = dialect.condense(stream)
    try:
        encoder.feed(decoder.feed(stream))
        encoder.feed(decoder.close())
    except ProxyError:
        pass  # cut off, or an error event: what came before it is still the message
    try:
        return load_object(encoder.close())
    except ProxyError:
        return None


def _attempt(kept: AttemptCapture) -> JsonObject:
    found: JsonObject = {"response_headers": _headers(kept.headers)}
    if kept.sent:
        found["sent"] = _body(kept.sent, len(kept.sent))
    if kept.error_body:
        found["reply_body"] = _body(kept.error_body, len(kept.error_body))
    return found


def _headers(block: bytes) -> Mapping[str, str]:
    pairs = (line.split(":", 1) for line in block.decode("latin-1").split("\n") if line)
    return {name: value for name, value in pairs if not _holds_key(name.lower())}


def _holds_key(name: str) -> bool:
    """``x-api-key`` and whatever vendors put before it are keys as well."""
    return name in _KEYS or name.endswith("api-key")


def _body(data: bytes | None, size: int) -> Any:
    if data is None:
        return {"omitted_bytes": size}
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _usage(usage: Usage | None) -> JsonObject | None:
    if usage is None:
        return None
    return {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "cached": usage.cached,
        "cache_write": usage.cache_write,
        "reasoning": usage.reasoning,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
