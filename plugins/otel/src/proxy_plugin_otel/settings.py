"""``[plugins.otel]``, and what OpenTelemetry's own variables say of the collector."""

from __future__ import annotations

import os

from pydantic import Field, HttpUrl, SecretStr

from proxy_core import PluginSettings


class OtelSettings(PluginSettings):
    """``[plugins.otel]``; ``PROXY_PLUGINS__OTEL__<KEY>`` wins over the file."""

    endpoint: HttpUrl | None = Field(
        None, description="The collector's full URL for traces: `http://127.0.0.1:4318/v1/traces`."
    )
    records_endpoint: HttpUrl | None = Field(
        None, description="Send request records too, as logs, to this address: `http://127.0.0.1:4318/v1/logs`."
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers of each export; their values are secret."
    )
    service_name: str = Field("proxy-core", description="`service.name` of every span and log record.")
    sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of requests to trace; a client's `traceparent` overrides it for that client's request.",
    )
    max_queue: int = Field(
        2048, ge=1, description="Most spans that wait for the collector; beyond that the oldest are dropped."
    )
    flush_s: float = Field(
        3.0, ge=0, le=4.5, description="How long a stopping proxy waits until the last spans are sent."
    )


def collector(settings: OtelSettings) -> str | None:
    """Where traces go; ``None``: nowhere, so that nothing has to start.

    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` and ``OTEL_EXPORTER_OTLP_ENDPOINT`` name a collector
    if settings do not, and ``OTEL_SDK_DISABLED`` means nowhere. The other ``OTEL_`` variables
    are the SDK's own business.
    """
    if _disabled():
        return None
    if settings.endpoint is not None:
        return str(settings.endpoint)
    traces = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    return traces or (f"{base.rstrip('/')}/v1/traces" if base else None)


def records_collector(settings: OtelSettings) -> str | None:
    """Where request records go. Only settings say so: a record may hold what was asked and answered."""
    return None if _disabled() or settings.records_endpoint is None else str(settings.records_endpoint)


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
