"""JSON lines (NDJSON): converts bytes to objects, one for each line, however the bytes were read.

Only LF ends a line, so a U+2028 or a character that a read splits does no harm.
"""

from __future__ import annotations

from proxy_core.errors import StreamCut, UpstreamBroken
from proxy_core.jsons import loads
from proxy_core.messages.json_types import JsonObject

__all__ = ["CONTENT_TYPE", "LineReader"]

CONTENT_TYPE = "application/x-ndjson"


class LineReader:
    """The objects of a byte stream, for a provider's decoder. Blank lines are skipped.

    Raises :exc:`UpstreamBroken` for a line that is no JSON object or exceeds ``max_line_bytes``.
    """

    __slots__ = ("_held", "_held_bytes", "_max")

    def __init__(self, max_line_bytes: int = 8 * 1024 * 1024) -> None:
        # In parts, because joining them at each read would take quadratic time.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._max = max_line_bytes

    def feed(self, data: bytes) -> list[JsonObject]:
        """The objects whose lines are complete."""
        whole, end, rest = data.rpartition(b"\n")
        lines = (self._taken() + whole).split(b"\n") if end else []
        self._held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes > self._max:
            raise UpstreamBroken(f"The upstream sent a line of more than {self._max} bytes.")
        return [_object(line) for line in lines if line.strip()]

    def close(self) -> list[JsonObject]:
        """The object of the last line, if that has no line end. Raises :exc:`StreamCut` if the line is not complete."""
        rest = self._taken()
        try:
            return [_object(rest)] if rest.strip() else []
        except UpstreamBroken as error:
            raise StreamCut("The upstream's last line is not complete.") from error

    def _taken(self) -> bytes:
        held, self._held, self._held_bytes = b"".join(self._held), [], 0
        return held


def _object(line: bytes) -> JsonObject:
    try:
        value = loads(line)
    except ValueError as error:
        raise UpstreamBroken("The upstream sent a line that is not JSON.") from error
    if not isinstance(value, dict):
        raise UpstreamBroken("The upstream sent a line that is no JSON object.")
    return value
