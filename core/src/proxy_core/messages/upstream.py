"""An encoded request for an upstream, and the ways in which it may fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct, field

from proxy_core.messages.reprs import repr_without

__all__ = ["CONNECT_TIMED_OUT", "TransportFault", "UpstreamFailure", "UpstreamRequest"]


class UpstreamRequest(Struct, frozen=True, kw_only=True):
    """What to send. Built from settings and the request's body; it never holds a client's header.

    ``dropped`` names the advisory fields of the client's request that the provider's format cannot
    express; a response header reports them to the client.
    """

    __repr__ = repr_without("headers", "content")

    url: str
    headers: Sequence[tuple[str, str]]
    content: bytes = b""
    method: str = "POST"
    dropped: Sequence[str] = ()


#: How an exchange failed without a status: no connection; silence; a connection lost before the status,
#: or in the middle of the response; a response that cannot be read.
TransportFault = Literal["connect", "timeout", "disconnect", "cut", "unreadable"]
#: The cause of ``connect`` that took all the time there was: to try it again would take as long.
CONNECT_TIMED_OUT = "no connection was made in time"


class UpstreamFailure(Struct, frozen=True, kw_only=True):
    """One failed attempt, as given to ``classify_failure``.

    ``credential_kind`` is that of the credential that was used: a status may mean one thing for an API key
    and another for an OAuth token. ``model`` is the upstream's id of the requested model. ``headers`` have
    lower-case names. ``body`` is at most 64 KiB. ``status`` is ``None`` if the transport failed; an error
    inside a response with status 200 keeps the status that it names. ``received_at`` is the reference for
    relative and absolute reset times. ``cause`` says why the transport failed, in words that are safe for clients.
    """

    __repr__ = repr_without("headers", "body")

    provider: str
    credential_kind: str = ""
    model: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    transport: TransportFault | None = None
    cause: str = ""
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
