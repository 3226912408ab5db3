"""One finished request to one line of JSON that may be kept. Pure, and closed on every failure."""

from __future__ import annotations

import json
import logging

from proxy_core.interfaces import RequestRecord
from proxy_core.messages import JsonObject
from proxy_core.records.capture import Capture
from proxy_core.records.record import bare, counted, full
from proxy_core.records.redact import Redaction, SecretScrubber

log = logging.getLogger("proxy_core.records")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


class Lines:
    """Builds, cleans and serialises."""

    def __init__(self, redaction: Redaction, scrub: SecretScrubber) -> None:
        self._redaction = redaction
        self._scrub = scrub

    def line(self, record: RequestRecord, capture: Capture) -> bytes:
        """Whatever fails leaves only ids, status and times."""
        try:
            line = self._redacted(record, capture) if self._redaction.installed else _json(counted(record, capture))
        except Exception as error:  # a dialect's decoder or a redactor's result; the next record is another matter
            log.error("a request record could not be built (%s)", type(error).__name__)
            line = _json(_failed(record))
        return self._scrub.bytes(line)

    def _redacted(self, record: RequestRecord, capture: Capture) -> bytes:
        found = full(record, capture)
        line = _json(found)
        if self._scrub.occurs(line):
            # Ours go first: a redactor that knows the first half of one would leave the other.
            found = self._scrub.value(found)
            line = _json(found)
        kept = self._redaction.apply(found)
        if kept is found:
            return line
        return _json(_failed(record) if kept is None else kept)


def _failed(record: RequestRecord) -> JsonObject:
    return {**bare(record), "redaction": "failed"}


def _json(record: JsonObject) -> bytes:
    return _ENCODER.encode(record).encode("utf-8", "replace")
