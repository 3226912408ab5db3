"""An encoded request on its way to an upstream, and how it may fail there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """What to send. Built from configuration and the request's body; it never holds a client's header.

    ``dropped`` names the fields of the client's request that only advise and that the provider
    has no word for; the client is told in a header of the reply.
    """

    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False, default=b"")
    method: str = "POST"
    dropped: Sequence[str] = ()


#: How an exchange broke without a status: no connection; silence; a connection lost before
#: the status, or in mid-reply; a reply that cannot be read.
TransportFault = Literal["connect", "timeout", "disconnect", "cut", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFailure:
    """One failed attempt, as a judge sees it.

    ``credential_kind`` is that of the credential it was tried with: one status means another thing
    for a key than for a login; ``model`` the upstream's id of what was asked for. ``headers`` have
    lower-case names. ``body`` is at most 64 KiB. ``status`` is ``None`` when the transport failed;
    an error inside a reply with status 200 keeps the status it names.
    ``received_at`` is what relative and absolute reset hints are read against.
    """

    provider: str
    credential_kind: str = ""
    model: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    transport: TransportFault | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
