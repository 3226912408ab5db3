"""Read Google's errors. Pure, and tolerant of every wrapping that Google's services have been seen to use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from proxy_core import load_json


class Info(Struct, frozen=True):
    """A ``google.rpc.ErrorInfo``."""

    reason: str
    domain: str
    metadata: Mapping[str, str]


class GoogleError(Struct, frozen=True):
    """An error in Google's terms. ``detailed``: it has at least one structured detail."""

    code: int | None
    status: str
    message: str
    infos: Sequence[Info] = ()
    retry_delay_s: float | None = None
    quota_ids: Sequence[str] = ()
    links: Sequence[str] = ()
    detailed: bool = False

    def info(self, *reasons: str) -> Info | None:
        return next((info for info in self.infos if info.reason in reasons), None)

    def metadata_value(self, name: str) -> str | None:
        """The first value of a metadata member."""
        return next((info.metadata[name] for info in self.infos if info.metadata.get(name)), None)


_DEPTH = 5


def read_google_error(body: bytes) -> GoogleError:
    """Read every form in use: an object, an array of one, JSON in ``message``, an event's ``data:`` line, plain text.

    Whitespace around keys is ignored. An unreadable body gives an empty error.
    """
    text = with_plain_spaces(body[: 256 * 1024]).decode("utf-8", "replace").strip().removeprefix("data:").strip()
    found: Mapping[str, Any] = {}
    for _ in range(_DEPTH):
        inner = _error_in(text)
        if inner is None:
            break
        found = inner
        message = inner.get("message")
        if not isinstance(message, str) or message.lstrip()[:1] not in ("{", "["):
            break
        text = message.strip()
    if not found:
        return GoogleError(None, "", "" if text[:1] in ("<", "{", "[") else text[:2000])
    return _read(found)


def with_plain_spaces(body: bytes) -> bytes:
    """The body with spaces for no-break spaces, by which some of Google's errors are indented: JSON allows none."""
    return body.replace("\u00a0".encode(), b" ")


def _error_in(text: str) -> Mapping[str, Any] | None:
    try:
        value = _trimmed(load_json(text))
    except ValueError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error", value if "message" in value else None)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else None


def _trimmed(value: Any) -> Any:
    """The same value with whitespace around keys removed, including no-break spaces."""
    if isinstance(value, dict):
        return {key.strip(): _trimmed(inner) for key, inner in value.items()}
    return [_trimmed(inner) for inner in value] if isinstance(value, list) else value


def _read(error: Mapping[str, Any]) -> GoogleError:
    details = error.get("details")
    entries = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    infos: list[Info] = []
    ids: list[str] = []
    links: list[str] = []
    delay: float | None = None
    for entry in entries:
        if isinstance(entry.get("reason"), str):
            metadata = entry.get("metadata")
            named = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
            domain = re.sub(r"[^A-Za-z0-9.-]", "", str(entry.get("domain") or ""))
            infos.append(Info(entry["reason"].strip(), domain, named))
        for violation in _objects(entry.get("violations")):
            if isinstance(violation.get("quotaId"), str):
                ids.append(violation["quotaId"])
        links += [link["url"] for link in _objects(entry.get("links")) if isinstance(link.get("url"), str)]
        if delay is None and isinstance(entry.get("retryDelay"), str):
            delay = duration_s(entry["retryDelay"])
    code, message = error.get("code"), error.get("message")
    return GoogleError(
        code=code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else None,
        status=status if isinstance(status := error.get("status"), str) else "",
        message=message.replace("\u00a0", " ")[:2000] if isinstance(message, str) else "",
        infos=infos,
        retry_delay_s=delay,
        quota_ids=ids,
        links=links,
        detailed=bool(entries),
    )


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, dict))


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
LONGEST_S = 8 * 86_400.0


def duration_s(text: str) -> float | None:
    """The seconds in ``8h44m7.2s``, ``900ms`` and the like; at least one second. ``None`` if unreadable."""
    text = text.strip()
    negative, text = text.startswith("-"), text.removeprefix("-")
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return 1.0 if negative or total <= 0 else min(total, LONGEST_S)
