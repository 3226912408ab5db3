"""An encoded request on its way to an upstream, and how it may fail there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """The request to send. It is built from settings and the request's body, and never contains a client's header.

    ``dropped`` lists optional fields of the client's request that the provider does not support;
    a response header reports them to the client.
    """

    url: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    content: bytes = field(repr=False, default=b"")
    method: str = "POST"
    dropped: Sequence[str] = ()


#: How an exchange failed without a status: no connection; a timeout; a connection lost before
#: the status, or in the middle of the response; an unreadable response.
TransportFault = Literal["connect", "timeout", "disconnect", "cut", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFailure:
    """One failed attempt, as ``classify_failure`` sees it.

    ``credential_kind`` is that of the attempt's credential, because the same status can mean different
    things for a key and a login. ``model`` is the upstream's id of the requested model. ``headers`` have
    lower-case names. ``body`` is at most 64 KiB. ``status`` is ``None`` if the transport failed;
    for an error inside a response with status 200, it is the status that the error names.
    ``received_at`` is the reference for relative and absolute reset hints.
    """

    provider: str
    credential_kind: str = ""
    model: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    transport: TransportFault | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
