"""What OpenAI's chat, completions and embeddings formats share: errors, usage, the stream meter.

Source: ``openai-python`` 3.x types and stream reader; recorded vendor deviations are named in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy_core import sse
from proxy_core.dialects.common import count, json_bytes, load_object
from proxy_core.errors import ProxyError, UpstreamRejected
from proxy_core.interfaces import EncodedError, ResponseContext
from proxy_core.messages import JsonObject, Opaque, UpstreamFailure, Usage

HEARTBEAT = sse.comment("keep-alive")

_ERROR_TYPES = {
    "internal": "server_error",
    "upstream": "server_error",
    "overloaded": "server_error",
    "timeout": "server_error",
    "rate_limit": "requests",
}


# --- Errors ------------------------------------------------------------------------------


def error_object(error: ProxyError) -> JsonObject:
    """The ``error`` member of an OpenAI error body."""
    code = "rate_limit_exceeded" if error.kind == "rate_limit" and error.code is None else error.code
    known: JsonObject = {
        "message": error.message,
        "type": _ERROR_TYPES.get(error.kind, "invalid_request_error"),
        "param": error.param,
        "code": code,
    }
    if error.attempts:
        known["attempts"] = list(error.attempts)
    if isinstance(error, UpstreamRejected):
        known["type"] = error.type or known["type"]
        return {**error.details, **known}
    return known


def encode_error(error: ProxyError, request_id: str) -> EncodedError:
    return EncodedError(status=error.status, body=json_bytes({"error": error_object(error)}))


def stream_error(error: ProxyError, request_id: str) -> bytes:
    """An error after the headers were sent; openai-python raises on a truthy ``error`` key."""
    return sse.encode(json_bytes({"error": error_object(error)}))


def status_of_error(error: object) -> int | None:
    """The HTTP status an in-band error names (``code`` or ``status``, number or digits)."""
    if not isinstance(error, Mapping):
        return None
    for key in ("code", "status", "status_code", "http_code"):
        value = error.get(key)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None


def whole_failure(provider: str, body: JsonObject) -> UpstreamFailure | None:
    """An error hiding behind status 200: a truthy ``error`` and nothing that is a reply."""
    error = body.get("error")
    if not error or any(key in body for key in ("choices", "data", "object")):
        return None
    return failure_of(provider, body)


def failure_of(provider: str, body: JsonObject) -> UpstreamFailure:
    return UpstreamFailure(provider=provider, status=status_of_error(body.get("error")), body=json_bytes(body)[:65536])


# --- Signatures --------------------------------------------------------------------------

#: Who made the signatures that ride in ``extra_content``, as Google's own OpenAI endpoint does it.
_GOOGLE = "google"
_CARRIERS = frozenset({"extra_content", "provider_specific_fields", "thought_signature", "thoughtSignature"})


def google_signature(carrier: Mapping[Any, Any]) -> Opaque | None:
    """A thought signature beside a call or a message, wherever proxies and clients were seen to put it."""
    if _CARRIERS.isdisjoint(carrier):
        return None
    match carrier:
        case (
            {"extra_content": {"google": {"thought_signature": str(found)}}}
            | {"provider_specific_fields": {"thought_signature": str(found)}}
            | {"thought_signature": str(found)}
            | {"thoughtSignature": str(found)}
        ) if found:
            return Opaque(maker=_GOOGLE, payload=found)
        case _:
            return None


def signature_content(opaque: Opaque | None) -> JsonObject:
    """The member that carries it; nothing for other makers' bytes."""
    if opaque is None or opaque.maker != _GOOGLE:
        return {}
    return {"extra_content": {"google": {"thought_signature": opaque.payload}}}


# --- Usage -------------------------------------------------------------------------------


def decode_usage(usage: object) -> Usage | None:
    """``usage`` of a reply. DeepSeek reports cache hits as ``prompt_cache_hit_tokens``."""
    if not isinstance(usage, Mapping) or not usage:
        return None
    prompt_details, completion_details = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        prompt=count(usage, "prompt_tokens"),
        completion=count(usage, "completion_tokens"),
        cached=count(prompt_details, "cached_tokens") or count(usage, "prompt_cache_hit_tokens"),
        cache_write=count(prompt_details, "cache_write_tokens"),
        reasoning=count(completion_details, "reasoning_tokens"),
        extra=usage,
    )


def encode_usage(usage: Usage) -> JsonObject:
    """Recomputed from the counts; members without a name here are kept."""
    prompt_details = {**_object(usage.extra.get("prompt_tokens_details")), "cached_tokens": usage.cached}
    if usage.cache_write:
        prompt_details["cache_write_tokens"] = usage.cache_write
    completion_details = {**_object(usage.extra.get("completion_tokens_details")), "reasoning_tokens": usage.reasoning}
    return {
        **usage.extra,
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def whole_usage(body: JsonObject) -> Usage | None:
    return decode_usage(body.get("usage"))


# --- Streams -----------------------------------------------------------------------------

# A key followed by something that is not null. Inside JSON strings quotes are escaped, so a
# match is a real key; a value may follow on the next ``data:`` line of the same event.
_MARK = re.compile(rb'"(?:usage|error|finish_reason)"(?:\s|data:)*:(?:\s|data:)*[^n\s]|data: ?\[DONE\]')


def _unmarked(block: bytes) -> bool:
    """A cheap "certainly no mark here": five searches for plain bytes beat one pattern threefold."""
    return (
        b'"error"' not in block
        and b"[DONE]" not in block
        and b'"usage"' not in block
        and block.count(b'"finish_reason":null') + block.count(b'"finish_reason": null')
        == block.count(b'"finish_reason"')
    )


class OpenAIUsageTap:
    """Watches a relayed OpenAI stream (chat or completions).

    Events without a mark are not parsed. With ``strip_usage`` (we asked for usage, the client
    did not) an event that carries usage and no choices is left out; nothing else changes.
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
        """``[DONE]``, or a finish reason for every choice: some vendors send no ``[DONE]``."""
        return self._done or len(self._finished) >= self._wanted

    def feed(self, block: bytes) -> bytes:
        mark = None if _unmarked(block) else _MARK.search(block)
        if mark is None:
            return block
        # Events before the marked one are not looked at one by one.
        start = block.rfind(b"\n\n", 0, mark.start()) + 2
        start = 0 if start == 1 else start
        kept = [block[:start]]
        for event in sse.split(block[start:]):
            if _MARK.search(event) is not None:
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
        """Take note of one event; False if the client must not see it."""
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
