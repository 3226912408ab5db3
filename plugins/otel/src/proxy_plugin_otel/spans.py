"""The contents of spans: a finished request as values. Pure, and independent of OpenTelemetry.

Names and values follow the semantic conventions for generative AI wherever these define one. Spans hold
ids, counts and times only: no content, no keys, and no error messages, which may repeat content.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from proxy_core import AttemptRecord, RequestRecord, Usage

Value = str | int | float | bool

_OPERATIONS = {
    "openai_embeddings": "embeddings",
    "gemini_embeddings": "embeddings",
    "openai_completions": "text_completion",
    "gemini": "generate_content",
}
Hosts = Mapping[str, tuple[str, int | None]]


class SpanData(Struct, frozen=True, kw_only=True):
    """One span. ``start_ns`` and ``end_ns`` count from the epoch; ``error`` becomes ``error.type``."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None


def request_span(record: RequestRecord) -> SpanData:
    """The request as the client sees it: what was requested, which provider answered, and the usage."""
    operation, start_ns = operation_of(record), _started_ns(record)
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": record.model,
        "http.response.status_code": record.status,
        "proxy_core.request.id": record.id,
        "proxy_core.client": record.client,
        "proxy_core.dialect": record.dialect,
        "proxy_core.outcome": record.outcome,
        "proxy_core.attempts": len(record.attempts),
    }
    answered = record.decisive
    if answered is not None:
        provider, _, model = answered.deployment.partition("/")
        attributes["gen_ai.provider.name"] = provider
        if record.first_event_s is not None:
            attributes["gen_ai.response.model"] = model
    if record.stream and record.first_event_s is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = record.first_event_s
    if record.overhead_s is not None:
        attributes["proxy_core.overhead"] = record.overhead_s
    if record.usage is not None:
        attributes |= _usage(record.usage)
    error = None if record.outcome == "completed" else (record.error or record.outcome)
    return SpanData(
        name=f"{operation} {record.model}",
        start_ns=start_ns,
        end_ns=start_ns + _ns(record.duration_s),
        attributes=attributes,
        error=error,
    )


def attempt_spans(record: RequestRecord, hosts: Hosts) -> list[SpanData]:
    """One span per attempt. The attempt whose response went to the client ends together with the request."""
    return [_attempt_span(record, number, attempt, hosts) for number, attempt in enumerate(record.attempts, 1)]


def _attempt_span(record: RequestRecord, number: int, attempt: AttemptRecord, hosts: Hosts) -> SpanData:
    operation, provider, model = operation_of(record), *attempt.deployment.split("/", 1)
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "proxy_core.attempt": number,
        "proxy_core.credential": attempt.credential,
    }
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    if provider in hosts:
        host, port = hosts[provider]
        attributes |= {"server.address": host} if port is None else {"server.address": host, "server.port": port}
    error = None
    if attempt.fault is not None:
        attributes["proxy_core.fault"] = attempt.fault
        error = str(attempt.status) if attempt.status is not None else attempt.fault
    start_ns = _started_ns(record) + _ns(attempt.at_s)
    answered = attempt.fault is None and attempt.status is not None
    if answered and record.outcome == "cut":
        error = record.error or "cut"
    lasted_s = max(attempt.duration_s, record.duration_s - attempt.at_s) if answered else attempt.duration_s
    return SpanData(
        name=f"{operation} {model}",
        start_ns=start_ns,
        end_ns=start_ns + _ns(lasted_s),
        attributes=attributes,
        error=error,
    )


def operation_of(record: RequestRecord) -> str:
    return _OPERATIONS.get(record.dialect, "chat")


def _usage(usage: Usage) -> dict[str, Value]:
    """Zero may mean that the provider does not report a count, so only input and output are always present."""
    counts = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
    always = {"gen_ai.usage.input_tokens": usage.prompt, "gen_ai.usage.output_tokens": usage.completion}
    return {**always, **{name: count for name, count in counts.items() if count}}


def _started_ns(record: RequestRecord) -> int:
    return _ns(record.started_at.timestamp())


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
