"""OpenTelemetry's SDK, set up for this proxy alone: nothing is registered globally."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import metadata

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode

from proxy_plugin_otel.settings import OtelSettings, collector
from proxy_plugin_otel.spans import SpanData

_BATCH = 512


class Sdk:
    """A tracer, its bounded queue and its exporter. Creating one starts a thread."""

    def __init__(self, settings: OtelSettings, log: logging.Logger) -> None:
        # The SDK logs every failed batch, and every retry; ``_LoggingExporter`` logs only changes.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._exporter = _LoggingExporter(OTLPSpanExporter(endpoint=collector(settings), headers=headers or None), log)
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: settings.service_name}),
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            shutdown_on_exit=False,
        )
        most = settings.max_queue
        batches = BatchSpanProcessor(self._exporter, max_queue_size=most, max_export_batch_size=min(_BATCH, most))
        self._provider.add_span_processor(batches)
        self._tracer = self._provider.get_tracer("proxy_plugin_otel", metadata.version("proxy-plugin-otel"))

    def emit(self, request: SpanData, attempts: Sequence[SpanData], traceparent: str | None) -> None:
        """Emit spans that have already ended."""
        span = self._started(request, SpanKind.SERVER, _parent(traceparent))
        if span.is_recording():
            below = trace.set_span_in_context(span, Context())
            for attempt in attempts:
                self._started(attempt, SpanKind.CLIENT, below).end(attempt.end_ns)
        span.end(request.end_ns)

    def _started(self, data: SpanData, kind: SpanKind, context: Context) -> trace.Span:
        span = self._tracer.start_span(data.name, context, kind, dict(data.attributes), start_time=data.start_ns)
        if data.error is not None:
            span.set_attribute("error.type", data.error)
            span.set_status(Status(StatusCode.ERROR))
        return span

    def shutdown(self) -> None:
        """Send the queued spans. Blocks."""
        self._provider.shutdown()

    def abandon(self) -> None:
        """Discard the queued spans."""
        self._exporter.shutdown()


class _LoggingExporter(SpanExporter):
    """Wraps an exporter; logs when exports begin to fail and when they work again."""

    def __init__(self, exporter: SpanExporter, log: logging.Logger) -> None:
        self._exporter = exporter
        self._log = log
        self._lost = 0
        self._ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._lost:
                self._log.warning("the collector accepts spans again; %d were lost", self._lost)
            self._lost = 0
        else:
            if not self._lost:
                self._log.warning("the collector does not accept spans; spans are lost until it does")
            self._lost += len(spans)
        return result

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _parent(traceparent: str | None) -> Context:
    """The client's span. The proxy has already checked the form: ``00-<trace id>-<span id>-<flags>``."""
    if traceparent is None:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    there = trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16) & 1))
    return trace.set_span_in_context(trace.NonRecordingSpan(there), Context())
