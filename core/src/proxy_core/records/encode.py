"""Encodes a finished request as one line of JSON that is safe to store. Pure; fails closed."""

from __future__ import annotations

import json
import logging

from proxy_core.interfaces import RequestRecord
from proxy_core.jsons import dumps
from proxy_core.messages import JsonObject
from proxy_core.records.capture import Capture
from proxy_core.records.record import bare, counted, full
from proxy_core.records.redact import Redaction, SecretScrubber

log = logging.getLogger("proxy_core.records")


class Lines:
    """Builds, redacts and serializes records."""

    def __init__(self, redaction: Redaction, scrub: SecretScrubber) -> None:
        self._redaction = redaction
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
        line = _json(found)
        if self._scrub.occurs(line):
            # Our secrets are removed first: a redactor that matches half of one would leave the other half.
            found = self._scrub.value(found)
            line = _json(found)
        kept = self._redaction.apply(found)
        if kept is found:
            return line
        return _json(_failed(record) if kept is None else kept)


def _failed(record: RequestRecord) -> JsonObject:
    return {**bare(record), "redaction": "failed"}


def _json(record: JsonObject) -> bytes:
    try:
        return dumps(record)
    except TypeError:  # a redactor may return anything
        return json.dumps(record, separators=(",", ":"), default=str).encode()
