"""Builds request records: one JSON object per request, and a line of it that is safe to store. Pure; fails closed.

Without a redactor, a record contains ids, times, counts and outcomes. With one, it also contains headers, bodies
and error messages. A streamed response is merged into one message, so that nothing can hide by being split
between two events; for the stream itself, the record has the time and size of each chunk. The chunks themselves are
there if settings want them and nothing had to be removed from the message.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy_core.dialects.common import load_object
from proxy_core.errors import ProxyError
from proxy_core.interfaces import Dialect, RequestRecord, ResponseContext
from proxy_core.jsons import dumps, loads
from proxy_core.messages import JsonObject, Usage
from proxy_core.records.capture import AttemptCapture, Capture
from proxy_core.records.redact import Redaction, SecretScrubber
from proxy_core.rotation.explain import as_json

log = logging.getLogger("proxy_core.records")

#: Headers of such names are never recorded; ``x-ratelimit-remaining-tokens`` is.
_KEY_NAME = re.compile(r"auth|key|secret|cookie|passw|credential|token(?!s)")


def bare(record: RequestRecord) -> JsonObject:
    """The fields that are kept in any case."""
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


def explained(record: RequestRecord, clean: Callable[[str], str]) -> JsonObject:
    """How the request was routed, and the outcome. ``clean``: what upstreams said, which is content."""
    attempts = [
        {
            "deployment": a.deployment,
            "credential": a.credential,
            "status": a.status,
            "fault": a.fault,
            **({"cause": a.cause} if a.cause and (a.status is None or a.fault == "plugin") else {}),
            "duration_s": _rounded(a.duration_s),
        }
        for a in record.attempts
    ]
    return {
        **bare(record),
        "model": record.model,
        "changed_by": list(record.changed_by),
        **({"cause": record.cause} if record.cause else {}),
        "decisions": [as_json(decision, clean) for decision in record.decisions],
        "attempts": attempts,
        "usage": _usage(record.usage),
    }


def counted(record: RequestRecord, capture: Capture, *, messages: bool = False) -> JsonObject:
    """All fields that are not content, and the upstreams' messages if those are wanted."""
    found = {
        **explained(record, str if messages else lambda text: ""),
        "request": {"path": capture.path, "bytes": capture.request_bytes},
        "response": {"bytes": capture.reply_bytes},
    }
    if record.stream and record.status == 200:
        at_and_size = iter(capture.pieces)
        found["response"]["chunks"] = [
            [_rounded(at), int(size)] for at, size in zip(at_and_size, at_and_size, strict=True)
        ]
    return found


def full(record: RequestRecord, capture: Capture) -> JsonObject:
    """All fields, including content. The caller has to pass the result through the redactors."""
    found = counted(record, capture, messages=True)
    found["request"] |= {
        "headers": _headers(capture.headers),
        "body": _body(capture.request_body, capture.request_bytes),
    }
    for shown, attempt in zip(found["attempts"], record.attempts, strict=True):
        shown["message"] = attempt.message
    for kept in capture.attempts:
        # If a request ended during an attempt, that attempt is not on record.
        if kept.number < len(found["attempts"]):
            found["attempts"][kept.number] |= _attempt(kept, found["request"]["body"])
    reply = b"".join(capture.reply)
    if capture.error is not None:
        found["response"]["error"] = capture.error
    if capture.reply_truncated:
        found["response"]["truncated"] = True
    if reply:
        streamed = record.stream and record.status == 200
        found["response"]["body"] = (
            aggregated(capture.dialect, record, reply) if streamed else _body(reply, capture.reply_bytes)
        )
    return found


def aggregated(dialect: Dialect, record: RequestRecord, stream: bytes) -> JsonObject | None:
    """The message that a stream of ``dialect`` results in, as far as it arrived."""
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
        pass  # cut off, or an error event: the message is what came before it
    try:
        return load_object(encoder.close())
    except ProxyError:
        return None


def with_chunks(found: JsonObject, capture: Capture) -> JsonObject:
    """A record that also has each chunk of the stream."""
    chunks = [piece.decode("utf-8", "replace") for piece in capture.reply]
    return {**found, "response": {**found["response"], "stream": chunks}}


def _attempt(kept: AttemptCapture, asked: object) -> JsonObject:
    """``asked``: the client's body, which is not repeated if only the model has another name upstream."""
    found: JsonObject = {"response_headers": _headers(kept.headers)}
    sent = _body(kept.sent, kept.sent_bytes)
    if kept.sent_bytes and not _same_but_for_the_model(sent, asked):
        found["sent"] = sent
    if kept.error_body:
        found["response_body"] = _body(kept.error_body, len(kept.error_body))
    return found


def _same_but_for_the_model(sent: object, asked: object) -> bool:
    if isinstance(sent, dict) and isinstance(asked, dict) and sent.keys() == asked.keys():
        return all(value == asked[name] for name, value in sent.items() if name != "model")
    return sent == asked


def _headers(block: bytes) -> Mapping[str, str]:
    pairs = [line.split(":", 1) for line in block.decode("latin-1").split("\n") if line]
    # In most responses one search shows that no name may be that of a key.
    if _KEY_NAME.search("\n".join([name for name, _ in pairs]).lower()) is None:
        return dict(pairs)
    return {name: value for name, value in pairs if not _holds_key(name.lower())}


def _holds_key(name: str) -> bool:
    """Whether a header may hold a key, judging by its name: clients make up names of their own."""
    return _KEY_NAME.search(name) is not None


def _body(data: bytes | None, size: int) -> Any:
    if data is None:
        return {"omitted_bytes": size}
    text = data.decode("utf-8", "replace")
    try:
        return loads(text)
    except ValueError:
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


# --- Lines -------------------------------------------------------------------------------


class Lines:
    """Builds, redacts and serializes records."""

    def __init__(self, redaction: Redaction, scrub: SecretScrubber, *, chunks: bool = False) -> None:
        self._redaction = redaction
        self._chunks = chunks
        self._scrub = scrub

    def line(self, record: RequestRecord, capture: Capture) -> bytes:
        """The record's line. On any failure, only ids, status and times remain."""
        try:
            line = self._redacted(record, capture) if self._redaction.installed else _json(counted(record, capture))
        except (
            Exception
        ) as error:  # a dialect's decoder or a redactor may fail in any way; other records are not affected
            log.error("a request record could not be built (%s)", type(error).__name__)
            line = _json(_failed(record))
        return self._scrub.bytes(line)

    def _redacted(self, record: RequestRecord, capture: Capture) -> bytes:
        found = full(record, capture)
        if self._chunks and record.stream and self._harmless(found):
            found = with_chunks(found, capture)
        line = _json(found)
        if self._scrub.occurs(line):
            # Our secrets are removed first: a redactor that matches half of one would leave the other half.
            found = self._scrub.value(found)
            line = _json(found)
        kept = self._redaction.apply(found)
        if kept is found:
            return line
        return _json(_failed(record) if kept is None else kept)

    def _harmless(self, found: JsonObject) -> bool:
        """Whether nothing has to be removed from the merged message: a secret may be split between its chunks."""
        message = found["response"].get("body")
        if message is None or "truncated" in found["response"] or self._scrub.occurs(_json(message)):
            return False
        kept = self._redaction.apply(found)
        return kept is not None and kept.get("response", {}).get("body") == message


def _failed(record: RequestRecord) -> JsonObject:
    return {**bare(record), "redaction": "failed"}


def _json(record: JsonObject) -> bytes:
    try:
        return dumps(record)
    except TypeError:  # a redactor may return anything
        return json.dumps(record, separators=(",", ":"), default=str).encode()
