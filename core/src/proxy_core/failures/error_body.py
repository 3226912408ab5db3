"""Reads an upstream's error body, in every shape in use. Pure, and never raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from proxy_core.jsons import loads

MESSAGE_LIMIT = 2000


class ErrorBody(Struct, frozen=True):
    """The fields of an upstream's error body. ``html``: the body is a web server's or firewall's page."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    html: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        """Every machine-readable code, lower case, the most specific first."""
        metadata = self.details.get("metadata")
        named = [metadata.get(key) for key in ("error_type", "limit_source")] if isinstance(metadata, Mapping) else []
        reasons = [detail.get("reason") for detail in self.typed]
        number = None if self.number is None else str(self.number)
        return tuple(w.lower() for w in (*reasons, *named, self.code, number, self.type) if isinstance(w, str))

    @property
    def typed(self) -> list[Mapping[str, Any]]:
        """Details with a ``@type``, as gRPC services send them."""
        details = self.details.get("details")
        return [entry for entry in details if isinstance(entry, Mapping)] if isinstance(details, list) else []


def read_error(body: bytes) -> ErrorBody:
    """Parse the common formats: an ``error`` object or text, ``detail``, ``message``, plain text."""
    found = error_object(body)
    if found is None:
        text = body[:MESSAGE_LIMIT].decode("utf-8", "replace").strip()
        html = text.startswith("<")  # a web server's or firewall's page does not help a client
        plain = text and not html and text[:1] not in ("{", "[") and not _is_json(body)
        return ErrorBody(message=text if plain else None, html=html)
    error, around = found
    if isinstance(inner := error.get("error"), str):
        return ErrorBody(message=inner[:MESSAGE_LIMIT], code=_str(error.get("code")))
    message = error.get("message") or error.get("detail") or error.get("msg") or error.get("title")
    if message is not None and not isinstance(message, str):
        message = json.dumps(message, ensure_ascii=False)
    known, number = {"message", "type", "code", "param"}, error.get("code")
    return ErrorBody(
        message=message[:MESSAGE_LIMIT] if message else None,
        type=_str(error.get("type")) or _str(error.get("status")),
        code=_str(error.get("code")),
        param=_str(error.get("param")),
        details={key: value for key, value in error.items() if key not in known} if error is not around else {},
        number=number if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**9 else None,
    )


def at_path(body: bytes, path: str | None) -> Any:
    """The value to which ``path`` (``"errors.0.text"``) leads in a JSON body; ``None`` if it leads nowhere."""
    if path is None:
        return None
    try:
        value = loads(body)
    except ValueError:
        return None
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _is_json(body: bytes) -> bool:
    try:
        loads(body)
    except ValueError:
        return False
    return True


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def error_object(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The error's own object and the enclosing one (the same, if there is none); ``None`` if there is no object.

    Accepts an object, an array of one, and nested JSON inside ``error.message``.
    """
    around = _json_object(body)
    for _ in range(4):
        if around is None:
            return None
        inner = around.get("error", around)
        if not isinstance(inner, Mapping):
            return around, around
        message = inner.get("message")
        deeper = _json_object(message.encode()) if isinstance(message, str) and message[:1] in ("{", "[") else None
        if deeper is None or not isinstance(deeper.get("error"), Mapping):
            return inner, around
        around = deeper
    return None


def _json_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = loads(body)
    except ValueError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, Mapping) else None
