"""Send request records to a collector as OpenTelemetry logs, over OTLP/HTTP in JSON.

These are the same redacted records that other log sinks get. OpenTelemetry's SDK for logs is not
stable yet, but OTLP is; this module therefore builds the OTLP document itself and imports no SDK.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

import httpx

from proxy_plugin_otel.settings import OtelSettings

#: Statuses after which OTLP allows the batch to be sent again.
_RETRYABLE = (429, 502, 503, 504)
PAUSES_S = (0.5, 1.0, 2.0)
_TIMEOUT_S = 10.0
_INFO, _ERROR = (9, "INFO"), (17, "ERROR")
#: Record fields that are also sent as attributes, so that a backend can search without parsing bodies.
_ATTRIBUTES = {
    "id": "proxy_core.request.id",
    "client": "proxy_core.client",
    "dialect": "proxy_core.dialect",
    "model": "gen_ai.request.model",
    "status": "http.response.status_code",
    "outcome": "proxy_core.outcome",
    "error": "error.type",
}


class RecordsRefused(Exception):
    """The collector rejected a batch; the core counts its records as lost."""


class RecordSink:
    """``write`` and ``close`` of a log sink. The core calls ``write`` with one batch at a time, from a bounded queue.

    ``pauses_s`` are the waits before each retry.
    """

    def __init__(self, url: str, settings: OtelSettings, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._url = url
        self._pauses_s = pauses_s
        self._resource = {"service.name": settings.service_name}
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._client: httpx.AsyncClient | None = None

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send a batch, retrying where the protocol allows it. Raises :exc:`RecordsRefused` and httpx's errors."""
        if self._client is None:
            # In a thread: loading the certificates takes a while and must not delay running streams.
            self._client = await asyncio.to_thread(_client, self._headers)
        content = await asyncio.to_thread(export_request, lines, self._resource)
        for pause_s in (*self._pauses_s, None):
            response = await self._client.post(self._url, content=content)
            if response.is_success:
                return
            if pause_s is None or response.status_code not in _RETRYABLE:
                raise RecordsRefused(f"the collector answered {response.status_code}")
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _client(headers: Mapping[str, str]) -> httpx.AsyncClient:
    own = {
        "user-agent": f"proxy-plugin-otel/{metadata.version('proxy-plugin-otel')}",
        "content-type": "application/json",
    }
    return httpx.AsyncClient(headers={**own, **headers}, timeout=_TIMEOUT_S)


def export_request(lines: Sequence[bytes], resource: Mapping[str, str]) -> bytes:
    """An ``ExportLogsServiceRequest`` in OTLP's JSON format, one log record per line.

    Source: opentelemetry-proto ``logs/v1/logs.proto``; field names in lowerCamelCase, 64-bit integers as strings.
    """
    scope = {"scope": {"name": "proxy_plugin_otel"}, "logRecords": [_log_record(line) for line in lines]}
    logs = {"resource": {"attributes": _attributes(resource)}, "scopeLogs": [scope]}
    return json.dumps({"resourceLogs": [logs]}, ensure_ascii=False, separators=(",", ":")).encode()


def _log_record(line: bytes) -> dict[str, Any]:
    text = line.decode("utf-8", "replace")
    record = json.loads(text)
    number, word = _INFO if record.get("outcome") == "completed" else _ERROR
    found = {name: record[key] for key, name in _ATTRIBUTES.items() if record.get(key) is not None}
    started_at = record.get("started_at")  # a redactor may have removed it
    return {
        **({"timeUnixNano": str(_nanoseconds(started_at))} if started_at else {}),
        "severityNumber": number,
        "severityText": word,
        "eventName": "proxy_core.request",
        "body": {"stringValue": text},
        "attributes": _attributes(found),
    }


def _nanoseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1_000) * 1_000_000


def _attributes(found: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in found.items()]


def _value(value: str | int) -> dict[str, str]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
