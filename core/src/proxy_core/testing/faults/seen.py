"""What a client got, whatever the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from proxy_core import sse


class Seen(Struct, frozen=True, kw_only=True):
    """A response in OpenAI's format, as its client understands it.

    ``status=None``: there was none. ``complete``: a whole JSON response, or a stream with its end marker.
    ``keys`` are the credentials that the gateway used for it, in order. ``broken``: how the connection ended, if
    not properly. ``left_alone_s``: after how many seconds the gateway let go of the upstream, if it did.
    """

    status: int | None
    text: str = ""
    complete: bool = False
    finishes: int = 0
    error: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    calls: Sequence[tuple[str, str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    keys: Sequence[str] = ()
    broken: str = ""
    took_s: float = 0.0
    left_alone_s: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the client can tell that this is not the response it asked for."""
        refused = self.status is not None and self.status >= 400
        return refused or self.error is not None or bool(self.broken)

    def __str__(self) -> str:
        """In one line, for a report."""
        if self.status is None:
            return self.broken or "no response"
        told = f"status {self.status}"
        if self.error is not None:
            told += f", error {str(self.error.get('message', self.error))[:100]!r}"
        if self.text:
            told += f", text {self.text[:40]!r}"
        if self.status < 400 and not self.complete:
            told += f", broken off ({self.broken})" if self.broken else ", without an end"
        return told + f", {len(self.keys)} upstream request{'s' * (len(self.keys) != 1)}"


def seen(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Sequence[str] = (),
    broken: str = "",
    took_s: float = 0.0,
    left_alone_s: float | None = None,
) -> Seen:
    """Read a response. ``headers`` have lower-case names. Nothing that a server sends raises."""
    streamed = headers.get("content-type", "").startswith("text/event-stream")
    payloads = [event.data for event in sse.events(body) if event.data.strip() != b"[DONE]"] if streamed else [body]
    values = [_value(payload) for payload in payloads]
    parts = [value for value in values if value is not None]
    if streamed and len(parts) < len(values):
        broken = broken or "an event is not JSON"
    choices = [choice for part in parts for choice in _list(part, "choices")]
    messages = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    error = next((part["error"] for part in parts if part.get("error")), None)
    return Seen(
        status=status,
        text="".join(text for m in messages if isinstance(m, dict) and isinstance(text := m.get("content"), str)),
        complete=_complete(body, streamed, bool(choices)),
        finishes=sum(bool(choice.get("finish_reason")) for choice in choices),
        error=error if error is None or isinstance(error, dict) else {"message": str(error)},
        usage=next((part["usage"] for part in reversed(parts) if part.get("usage")), None),
        calls=_calls(messages),
        headers=headers,
        body=body,
        keys=keys,
        broken=broken,
        took_s=took_s,
        left_alone_s=left_alone_s,
    )


def _complete(body: bytes, streamed: bool, answered: bool) -> bool:
    if not streamed:
        return answered
    return any(event.data.strip() == b"[DONE]" for event in sse.events(body))


def _value(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _list(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _calls(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each tool call, put together from its pieces."""
    found: dict[int, list[str]] = {}
    for message in messages:
        for place, piece in enumerate(_list(message, "tool_calls")):
            call = found.setdefault(piece.get("index", place), ["", "", ""])
            function = piece.get("function") or {}
            for at, part in enumerate((piece.get("id"), function.get("name"), function.get("arguments"))):
                call[at] += part or ""
    return [(id_, name, arguments) for id_, name, arguments in found.values()]
